//! Reads the files in `tests/vectors/`: `[name]` opens a block, `field = hex` may go on in indented lines, `#` begins
//! a comment.

use std::collections::HashMap;

pub struct Block {
    pub name: String,
    fields: HashMap<String, String>,
}

impl Block {
    pub fn bytes(&self, field: &str) -> Vec<u8> {
        let digits = self.fields.get(field).unwrap_or_else(|| panic!("{}: no field {field}", self.name));
        hex::decode(digits).unwrap_or_else(|error| panic!("{}: {field}: {error}", self.name))
    }
}

/// All blocks of a file; panics unless there are `expected` of them, so that a lost block is noticed.
pub fn blocks(file: &str, expected: usize) -> Vec<Block> {
    let path = format!("{}/vectors/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut blocks: Vec<Block> = Vec::new();
    let mut field = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            blocks.push(Block { name: name.to_owned(), fields: HashMap::new() });
            continue;
        }
        let block = blocks.last_mut().expect("a field before the first block");
        let digits = match line.split_once('=') {
            Some((name, digits)) => {
                field = name.trim().to_owned();
                digits
            }
            None => line,
        };
        block.fields.entry(field.clone()).or_default().push_str(digits.trim());
    }
    assert_eq!(blocks.len(), expected, "blocks in {file}");
    blocks
}
