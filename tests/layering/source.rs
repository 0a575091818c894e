//! One source file: its module path, what it imports, and what `lib.rs` re-exports.
//!
//! Owns the reading of paths and the removal of tests; knows nothing of tiers.

use std::collections::BTreeMap;

use crate::lexer::{Token, is_word, tokens};

/// A path that a module names, from the crate root.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    /// The name it is given by `as`.
    pub(crate) alias: Option<String>,
    pub(crate) line: usize,
}

#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) module: Vec<String>,
    pub(crate) tokens: Vec<Token>,
    /// Modules in other files that only tests have.
    pub(crate) test_modules: Vec<Vec<String>>,
}

impl Source {
    /// None for files that hold tests only.
    pub(crate) fn read(name: &str, text: &str) -> Option<Self> {
        let stem = name.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
        if module.iter().any(|part| part == "tests") {
            return None;
        }
        module.pop_if(|last| last == "mod" || (stem == "lib" && last == "lib"));
        let mut source =
            Self { name: name.to_owned(), module, tokens: tokens(text), test_modules: Vec::new() };
        source.drop_tests();
        Some(source)
    }

    pub(crate) fn is(&self, at: usize, text: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.text == text)
    }

    fn are(&self, at: usize, texts: &[&str]) -> bool {
        texts.iter().enumerate().all(|(offset, text)| self.is(at + offset, text))
    }

    /// Takes out every item under `#[cfg(test)]` or `#[cfg(all(test, ...))]`.
    fn drop_tests(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            let only_tests = self.are(at, &["#", "[", "cfg", "(", "test", ")", "]"])
                || self.are(at, &["#", "[", "cfg", "(", "all", "(", "test"]);
            if !only_tests {
                at += 1;
                continue;
            }
            let mut start = at;
            while self.is(start, "#") {
                start = self.after_brackets(start + 1);
            }
            let end = self.item_end(start);
            let words: Vec<&str> = self.tokens[start..end].iter().map(|token| token.text.as_str()).collect();
            if let [.., "mod", name, ";"] = words[..] {
                self.test_modules.push(self.module.iter().cloned().chain([name.to_owned()]).collect());
            }
            self.tokens.drain(at..end);
        }
    }

    /// Behind the item that starts here: its `;`, or its closing brace. Anything else than an item (a field,
    /// an expression) stays, because its end is not so clear.
    fn item_end(&self, start: usize) -> usize {
        const ITEMS: [&str; 15] = [
            "pub",
            "mod",
            "use",
            "fn",
            "impl",
            "struct",
            "enum",
            "const",
            "static",
            "type",
            "trait",
            "unsafe",
            "async",
            "extern",
            "macro_rules",
        ];
        if !ITEMS.iter().any(|word| self.is(start, word)) {
            return start;
        }
        let head = self.tokens[start..].iter().map(|token| token.text.as_str());
        let import = head.take_while(|text| !matches!(*text, "{" | ";")).any(|text| text == "use");
        let mut at = start;
        while at < self.tokens.len() {
            match self.tokens[at].text.as_str() {
                ";" => return at + 1,
                "{" if !import => return self.after_brackets(at),
                "{" | "(" | "[" => at = self.after_brackets(at),
                _ => at += 1,
            }
        }
        at
    }

    /// Behind the bracket that closes the one here.
    fn after_brackets(&self, start: usize) -> usize {
        let mut depth = 0_usize;
        for at in start..self.tokens.len() {
            match self.tokens[at].text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return at + 1;
            }
        }
        self.tokens.len()
    }

    /// Every path that starts at the root, here or above, made absolute.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut imports = Vec::new();
        let mut depth = 0_usize;
        let mut inline: Vec<(usize, String)> = Vec::new();
        for at in 0..self.tokens.len() {
            match self.tokens[at].text.as_str() {
                "{" => {
                    depth += 1;
                    if at >= 2 && self.is(at - 2, "mod") {
                        inline.push((depth, self.tokens[at - 1].text.clone()));
                    }
                }
                "}" => {
                    inline.pop_if(|(opened, _)| *opened == depth);
                    depth = depth.saturating_sub(1);
                }
                "crate" if self.is(at + 1, "as") => {
                    imports.push(Import { path: Vec::new(), alias: None, line: self.tokens[at].line });
                }
                "crate" | "self" | "super" if self.is(at + 1, "::") && !(at > 0 && self.is(at - 1, "::")) => {
                    let here: Vec<String> = self
                        .module
                        .iter()
                        .cloned()
                        .chain(inline.iter().map(|(_, name)| name.clone()))
                        .collect();
                    let mut leaves = Vec::new();
                    self.tree(at, Vec::new(), &mut leaves);
                    imports.extend(leaves.into_iter().map(|leaf| leaf.absolute(&here)));
                }
                _ => {}
            }
        }
        imports
    }

    /// Reads a path with its groups; where it ends.
    fn tree(&self, mut at: usize, mut path: Vec<String>, leaves: &mut Vec<Import>) -> usize {
        let line = self.tokens.get(at).map_or(0, |token| token.line);
        while let Some(token) = self.tokens.get(at) {
            match token.text.as_str() {
                "{" => {
                    at += 1;
                    while at < self.tokens.len() && !self.is(at, "}") {
                        at = self.tree(at, path.clone(), leaves).max(at + 1);
                    }
                    return at + 1;
                }
                "*" => path.push("*".to_owned()),
                word if is_word(word) => {
                    path.push(word.to_owned());
                    if self.is(at + 1, "::") {
                        at += 2;
                        continue;
                    }
                }
                _ => {}
            }
            break;
        }
        if path.is_empty() || self.is(at, ",") {
            return at + 1;
        }
        let alias = self.tokens.get(at + 2).filter(|_| self.is(at + 1, "as")).map(|token| token.text.clone());
        at += if alias.is_some() { 3 } else { 1 };
        leaves.push(Import { path, alias, line });
        at
    }

    /// What `lib.rs` re-exports: the name, and the top-level module it comes from.
    pub(crate) fn exports(&self) -> BTreeMap<String, String> {
        let mut exports = BTreeMap::new();
        for at in (0..self.tokens.len()).filter(|at| self.are(*at, &["pub", "use"])) {
            let mut leaves = Vec::new();
            self.tree(at + 2, Vec::new(), &mut leaves);
            for leaf in leaves {
                let leaf = leaf.absolute(&[]);
                if let (Some(module), Some(name)) =
                    (leaf.path.first(), leaf.alias.as_ref().or(leaf.path.last()))
                {
                    exports.insert(name.clone(), module.clone());
                }
            }
        }
        exports
    }
}

impl Import {
    fn absolute(self, here: &[String]) -> Self {
        let mut absolute: Vec<String> = Vec::new();
        for (position, part) in self.path.iter().enumerate() {
            match part.as_str() {
                "crate" => {}
                "self" if position == 0 => absolute = here.to_vec(),
                "super" if position == 0 => absolute = here[..here.len().saturating_sub(1)].to_vec(),
                "super" => drop(absolute.pop()),
                "self" => {}
                _ => absolute.push(part.clone()),
            }
        }
        Self { path: absolute, ..self }
    }
}

/// Whether a `::` behind this word goes on with a path, and does not start one.
pub(crate) fn is_part(text: &str) -> bool {
    is_word(text)
        && !matches!(text, "use" | "dyn" | "impl" | "as" | "mut" | "return" | "in" | "for" | "const")
}
