//! Transcript files: any bytes.

use crate::transcript::{Statement, expand_scenes, format_file, parse, real_sides};

/// What parses is written out as it was, and written anew it means the same.
pub fn transcript(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(statements) = parse(&text) else { return };
    assert_eq!(format_file(&statements), text);

    let said: Vec<&Statement> = statements.iter().filter(|statement| !statement.words.is_empty()).collect();
    let made: Vec<Statement> =
        said.iter().map(|statement| Statement::made(&statement.head(), statement.fields.clone())).collect();
    let written = format_file(&made);
    let again = parse(&written).unwrap_or_else(|failure| panic!("{failure} in {written}"));
    assert!(again.iter().eq(said), "{written} in place of {text}");

    read(&statements);
    check_scenes(&statements);
}

/// Reads what a player reads of any statement: no panic.
fn read(statements: &[Statement]) {
    let _none_named = real_sides(statements);
    for statement in statements {
        for index in 0..statement.words.len().min(4) {
            let _no_bytes = statement.bytes_from(index);
            let _no_number = statement.number::<u64>(index);
        }
        let shown: usize = statement.fields.iter().map(|field| field.value.len()).sum();
        assert!(statement.data().len() <= shown);
    }
}

/// A file without scenes is played as it stands.
fn check_scenes(statements: &[Statement]) {
    let plain = statements.iter().all(|statement| !matches!(statement.word(0), "scene" | "again"));
    let steps = expand_scenes(statements);
    assert!(!plain || steps.is_ok_and(|steps| steps == statements));
}
