//! The `sordino` command.

fn main() {}
