//! Parts of pages that are made: what stands between two comments, by the name in the first.

use anyhow::{Result, bail};

const BEGIN: &str = "<!-- figures: ";
const END: &str = "<!-- /figures -->";

/// The page with each of its blocks replaced by what `make` says for its name.
pub(crate) fn refreshed(page: &str, make: impl Fn(&str) -> Result<String>) -> Result<String> {
    let mut made = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(at) = rest.find(BEGIN) {
        let (before, block) = rest.split_at(at);
        let Some((name, after)) = block[BEGIN.len()..].split_once(" -->") else {
            bail!("a block of figures whose first comment does not end");
        };
        let Some((_, after)) = after.split_once(END) else {
            bail!("the block of figures `{name}` does not end");
        };
        let text = make(name)?;
        made.push_str(before);
        made.push_str(&format!("{BEGIN}{name} -->\n\n{}\n\n{END}", text.trim()));
        rest = after;
    }
    made.push_str(rest);
    Ok(made)
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    #[test]
    fn only_what_stands_between_the_comments_changes() {
        let page = "a\n<!-- figures: one -->\nold\n<!-- /figures -->\nb\n\
                    <!-- figures: two -->\n<!-- /figures -->\n";
        let make = |name: &str| Ok(format!("new {name}\n"));
        let once = refreshed(page, make).unwrap();
        assert_eq!(
            once,
            "a\n<!-- figures: one -->\n\nnew one\n\n<!-- /figures -->\nb\n\
             <!-- figures: two -->\n\nnew two\n\n<!-- /figures -->\n"
        );
        assert_eq!(refreshed(&once, make).unwrap(), once);
        assert_eq!(refreshed("none\n", make).unwrap(), "none\n");
    }

    #[test]
    fn a_block_that_does_not_end_or_has_no_figures_is_an_error() {
        let make = |name: &str| {
            ensure!(name == "one", "no {name}");
            Ok(String::new())
        };
        for (page, part) in [
            ("<!-- figures: one -->\n", "`one` does not end"),
            ("<!-- figures: one", "first comment"),
            ("<!-- figures: two --><!-- /figures -->", "no two"),
        ] {
            let error = refreshed(page, make).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
