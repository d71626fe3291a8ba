//! Which lines of a file are test code, where a panic is a failed test and not a fault.

/// For each line of scrubbed code, whether it belongs to a test: the file is one of tests or
/// benchmarks, or the line is inside an item under `#[cfg(test)]` or `#[test]`.
pub(super) fn lines(path: &str, scrubbed: &str) -> Vec<bool> {
    let whole = is_test_file(path);
    let mut marked = Vec::new();
    let mut inside: Option<Item> = None;
    for line in scrubbed.lines() {
        if inside.is_none() && is_test_attribute(line.trim()) {
            inside = Some(Item::default());
        }
        marked.push(whole || inside.is_some());
        if inside.as_mut().is_some_and(|item| item.ends_on(line)) {
            inside = None;
        }
    }
    marked
}

fn is_test_file(path: &str) -> bool {
    let mut parts: Vec<&str> = path.split('/').collect();
    let name = parts.pop().unwrap_or("");
    let is_test_directory = |part: &&str| matches!(*part, "tests" | "benches" | "loom" | "fuzz");
    matches!(name, "tests.rs" | "loom.rs")
        || name.ends_with("_tests.rs")
        || parts.iter().any(is_test_directory)
}

fn is_test_attribute(line: &str) -> bool {
    line.starts_with("#[test]")
        || line.starts_with("#[cfg(test)]")
        || line.starts_with("#[cfg(all(test")
        || line.starts_with("#[cfg(loom)]")
}

/// An item from its attribute to the brace or semicolon that ends it.
#[derive(Default)]
struct Item {
    depth: usize,
}

impl Item {
    fn ends_on(&mut self, line: &str) -> bool {
        for c in line.chars() {
            match c {
                '{' | '(' | '[' => self.depth += 1,
                '}' | ')' | ']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if c == '}' && self.depth == 0 {
                        return true;
                    }
                }
                ';' | ',' if self.depth == 0 => return true,
                _ => {}
            }
        }
        false
    }
}
