//! Compresses a model from Rust. usage: cargo run --manifest-path examples/Cargo.toml -- MODEL RECIPE DATASET OUTPUT
//! RECIPE is a file or the YAML text itself; DATASET may be "-" for recipes that need no data. Exits with the llmc_status, 0 on success.
use llmc::{Oneshot, Session};
use std::process::ExitCode;

fn compress(model: &str, recipe: &str, dataset: &str, output: &str) -> llmc::Result<()> {
    let mut session = Session::new()?;
    let mut job = Oneshot::new(model, output).recipe(recipe);
    if dataset != "-" {
        job = job.dataset(dataset);
    }
    let report = job
        .on_progress(|p| eprintln!("{} {}: step {} of {}", p.stage, p.layer, p.step, p.steps))
        .on_log(|level, line| eprintln!("{level:?}: {line}"))
        .run_on(&mut session)?;
    println!(
        "{output} (llmc {}, {}): {} -> {} bytes",
        llmc::version(),
        session.device(),
        report.bytes_before(),
        report.bytes_after()
    );
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, recipe, dataset, output] = &arguments[..] else {
        eprintln!("usage: oneshot MODEL RECIPE DATASET OUTPUT");
        return ExitCode::from(1);
    };
    match compress(model, recipe, dataset, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.kind().status() as u8)
        }
    }
}
