//! transformers' `{% generation %}` block, which marks the assistant's tokens for training masks. Its text is all
//! that counts here, so the block is rewritten into `{% with %}`: the same scope and the same whitespace control.

/// `source` with every `{% generation %}` and `{% endgeneration %}` replaced; other tags are left alone.
pub fn rewrite_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
        let replacement = [("generation", "with"), ("endgeneration", "endwith")]
            .into_iter()
            .find_map(|(name, replacement)| Some((inner.strip_prefix(name)?, name, replacement)))
            .filter(|(after, _, _)| after.trim_start().trim_start_matches(['-', '+']).starts_with("%}"));
        match replacement {
            Some((after, name, replacement)) => {
                let opening = &tag[..tag.len() - after.len() - name.len()];
                out.push_str(opening);
                out.push_str(replacement);
                rest = after;
            }
            None => {
                out.push_str("{%");
                rest = &tag[2..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_generation_tags_are_rewritten_and_keep_their_whitespace_marks() {
        assert_eq!(
            rewrite_generation_tags(
                "{%- generation -%} a {% endgeneration %}{% set generation = 1 %}{{ generation }}"
            ),
            "{%- with -%} a {% endwith %}{% set generation = 1 %}{{ generation }}"
        );
    }
}
