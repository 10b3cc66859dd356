//! Plays and records transcripts.
//!
//! ```text
//! transcript check FILE...     plays each file in every way
//! transcript record FILE...    writes each file anew from its settings and actions
//! ```

use sordino_tests::transcript::{Failure, play_every_way, record};
use std::process::ExitCode;

fn check(path: &str, text: &str) -> Result<(), Failure> {
    let ways = play_every_way(text)?;
    println!("ok {path}: {ways} ways");
    Ok(())
}

fn rewrite(path: &str, text: &str) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::write(path, record(text)?)?;
    println!("recorded {path}");
    Ok(())
}

fn run(command: &str, path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(path)?;
    match command {
        "check" => Ok(check(path, &text)?),
        _ => rewrite(path, &text),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, files)) =
        arguments.split_first().filter(|(c, f)| ["check", "record"].contains(&c.as_str()) && !f.is_empty())
    else {
        eprintln!("usage: transcript check|record FILE...");
        return ExitCode::from(2);
    };
    for path in files {
        if let Err(error) = run(command, path) {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
