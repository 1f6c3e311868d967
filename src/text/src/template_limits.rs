//! What a chat template may cost. A template comes with a downloaded model and is a program: it gets so much work,
//! memory and depth, and an error beyond it, never the host's last byte of memory or stack.
//!
//! minijinja charges fuel for instructions and for every value it makes itself. What is left for this file are the
//! values that filters and methods of this crate make, whose size has to be known before they are allocated.

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use std::fmt::{self, Write};

/// Per rendering: about a second of work. One unit pays for an instruction or 64 bytes of data, so that a rendering
/// never holds more than 1.3 GB; a chat of a megabyte takes a hundredth of it.
const FUEL: u64 = 20_000_000;
const BYTES_PER_FUEL: u64 = 64;
/// What an item counts in a list that is printed: a million of them are as many as a rendering can pay for.
const BYTES_PER_ITEM: usize = 1024;
/// Macros and loops within each other; a macro's call costs five.
const RECURSION: usize = 250;
/// Lists and dicts within each other that are printed. Python's own limit is about 1000.
const DEPTH: usize = 250;
/// The longest template in the wild has some 30 KB. A tag is parsed with one stack frame per operator.
pub const MAX_SOURCE_BYTES: usize = 512 << 10;
/// A stack that a value nested as deep as the fuel allows can be freed on. Pages are taken only when touched.
const STACK_BYTES: usize = 256 << 20;
/// When the system refuses the large one.
const SMALL_STACK_BYTES: usize = 8 << 20;

pub fn install(environment: &mut Environment) {
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
}

/// Starts a thread with a stack that templates cannot overflow, or None if the system has no thread left.
pub fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    work: impl Fn() -> T + Send + Sync + Copy + 'scope,
) -> Option<std::thread::ScopedJoinHandle<'scope, T>> {
    [STACK_BYTES, SMALL_STACK_BYTES]
        .into_iter()
        .find_map(|bytes| std::thread::Builder::new().stack_size(bytes).spawn_scoped(scope, work).ok())
}

/// Runs `work` on such a thread, or here when there is none.
pub fn on_large_stack<T: Send>(work: impl Fn() -> T + Send + Sync) -> T {
    std::thread::scope(|scope| match spawn(scope, &work) {
        Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        None => work(),
    })
}

/// The bytes that the rendering may still make.
fn bytes_left(state: &State) -> usize {
    let fuel = state.fuel_levels().map_or(FUEL, |(_, left)| left);
    usize::try_from(fuel.saturating_mul(BYTES_PER_FUEL)).unwrap_or(usize::MAX)
}

/// Fails before `bytes` are allocated that the rendering cannot pay for.
pub fn ensure_bytes(state: &State, bytes: usize) -> Result<(), Error> {
    if bytes < bytes_left(state) {
        return Ok(());
    }
    Err(Error::from(ErrorKind::OutOfFuel))
}

/// Text that grows up to a limit.
struct Bounded {
    text: String,
    limit: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > self.limit {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// The value as the template prints it. A list may hold another one many times over, and so on: 50 such steps are
/// 2^50 items in a few bytes of memory.
pub fn print_bounded(state: &State, value: &Value) -> Result<String, Error> {
    check_printable(state, value)?;
    let mut out = Bounded { text: String::new(), limit: bytes_left(state) };
    write!(out, "{value}").map_err(|_| Error::from(ErrorKind::OutOfFuel))?;
    Ok(out.text)
}

/// Fails when the value is nested deeper than a stack is sure to hold, or has more items than can be printed.
pub fn check_printable(state: &State, value: &Value) -> Result<(), Error> {
    check_depth(value, 0, &mut most_items(state))
}

/// How many items, those of inner lists included, a list may have.
pub fn most_items(state: &State) -> usize {
    bytes_left(state) / BYTES_PER_ITEM
}

/// The value itself, if it may be joined to another: joining a list to itself 40 times makes 2^40 items, which
/// minijinja allocates before it counts them.
pub fn bounded(state: &State, value: &Value) -> Result<Value, Error> {
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) {
        let items = value.len().unwrap_or(0);
        if items > most_items(state) {
            return Err(Error::from(ErrorKind::OutOfFuel));
        }
        state.consume_fuel(items as u64)?;
        check_printable(state, value)?;
    }
    Ok(value.clone())
}

/// The items of a list or the keys of a dict, no more of them than the rendering can pay for.
pub fn collect_bounded(state: &State, value: &Value) -> Result<Vec<Value>, Error> {
    let most = most_items(state);
    let items: Vec<Value> = value.try_iter()?.take(most + 1).collect();
    if items.len() > most {
        return Err(Error::from(ErrorKind::OutOfFuel));
    }
    Ok(items)
}

/// The items' texts with `joiner` between them.
pub fn join_bounded<'a>(
    state: &State,
    items: impl Iterator<Item = Result<Value, Error>> + 'a,
    joiner: &str,
) -> Result<String, Error> {
    let mut out = Bounded { text: String::new(), limit: bytes_left(state) };
    for (index, item) in items.enumerate() {
        // Every item takes time, though it be empty.
        let item = item?;
        let separator = if index > 0 { joiner } else { "" };
        let text = match item.as_str() {
            Some(text) => text.to_string(),
            None => print_bounded(state, &item)?,
        };
        if index.saturating_mul(BYTES_PER_ITEM) >= out.limit || write!(out, "{separator}{text}").is_err() {
            return Err(Error::from(ErrorKind::OutOfFuel));
        }
    }
    Ok(out.text)
}

pub fn check_level(depth: usize) -> Result<(), Error> {
    if depth < DEPTH {
        return Ok(());
    }
    let message = format!("lists or dicts are nested more than {DEPTH} deep");
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// A list or a dict; an iterator that does not know its length is printed by its name.
pub fn is_printed_whole(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Seq | ValueKind::Map => true,
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
}

fn check_depth(value: &Value, depth: usize, items: &mut usize) -> Result<(), Error> {
    if !is_printed_whole(value) {
        return Ok(());
    }
    check_level(depth)?;
    let is_map = value.kind() == ValueKind::Map;
    for item in value.try_iter()? {
        *items = items.checked_sub(1).ok_or_else(|| Error::from(ErrorKind::OutOfFuel))?;
        check_depth(&item, depth + 1, items)?;
        if is_map {
            check_depth(&value.get_item(&item)?, depth + 1, items)?;
        }
    }
    Ok(())
}

/// Fails when a format string and its arguments could make a text that cannot be paid for: every width or precision
/// counts, and every field as the longest argument.
pub fn ensure_format(state: &State, format: &str, args: &[Value], field: char) -> Result<(), Error> {
    let mut longest = 0;
    for arg in args {
        longest = longest.max(match arg.as_str() {
            Some(text) => text.len(),
            None => print_bounded(state, arg)?.len(),
        });
    }
    let fields = format.matches(field).count();
    let widths = format
        .split(|character: char| !character.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(usize::MAX))
        .fold(0, usize::saturating_add);
    ensure_bytes(state, format.len().saturating_add(widths).saturating_add(fields.saturating_mul(longest)))
}
