//! The lines of a transcript: statements, their fields, and bytes written for people.

use super::Failure;
use std::fmt::Write;

/// The first line of every file.
pub const FIRST_LINE: &str = "sordino transcript 1";
const PER_LINE: usize = 32;
const LONGEST_TEXT: usize = 200;
/// Shorter runs of zeros at the end of a field are written out.
const SHORTEST_RUN: usize = 16;
/// Nothing in a conversation is longer than the largest record.
const LONGEST_RUN: usize = 16_384;

/// A name and its bytes. A name in parentheses is for the reader and not on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What the bytes are.
    pub name: String,
    /// The bytes.
    pub value: Vec<u8>,
}

impl Field {
    /// A field.
    pub fn new(name: &str, value: &[u8]) -> Self {
        Self { name: name.into(), value: value.into() }
    }

    fn is_shown_only(&self) -> bool {
        self.name.starts_with('(')
    }
}

/// A statement with its fields; without words, a line of comment.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// The words of the first line.
    pub words: Vec<String>,
    /// The indented lines.
    pub fields: Vec<Field>,
    /// Number of the first line in its file, from 1; 0 if it was made.
    pub line: usize,
    raw: Vec<String>,
}

/// Lines and comments don't count.
impl PartialEq for Statement {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words && self.fields == other.fields
    }
}

impl Statement {
    /// A statement that no file holds yet.
    pub fn made(words: &str, fields: Vec<Field>) -> Self {
        Self { words: words.split(' ').map(Into::into).collect(), fields, line: 0, raw: vec![] }
    }

    /// The word at `index`, or nothing.
    pub fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", String::as_str)
    }

    /// The words from `index` on, with blanks.
    pub fn rest(&self, index: usize) -> String {
        self.words.get(index..).unwrap_or_default().join(" ")
    }

    /// The bytes of all fields in order.
    pub fn data(&self) -> Vec<u8> {
        self.fields.iter().filter(|f| !f.is_shown_only()).flat_map(|f| f.value.clone()).collect()
    }

    /// The bytes of one field.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|f| f.name == name).map(|f| f.value.as_slice())
    }

    /// The bytes that stand in the words from `index` on.
    ///
    /// # Errors
    /// [`Failure`] if they are no bytes.
    pub fn bytes_from(&self, index: usize) -> Result<Vec<u8>, Failure> {
        parse_bytes(&self.rest(index))
    }

    /// The number at `index`.
    ///
    /// # Errors
    /// [`Failure`] if there is none.
    pub fn number<T: std::str::FromStr>(&self, index: usize) -> Result<T, Failure> {
        let word = self.word(index);
        word.parse().map_err(|_| Failure::new(format!("{word:?} is no number that fits here")))
    }

    /// The first line, for messages.
    pub fn head(&self) -> String {
        self.words.join(" ")
    }
}

/// Reads bytes: groups of hexadecimal digits, `"text"`, `00*475`.
pub(crate) fn parse_bytes(text: &str) -> Result<Vec<u8>, Failure> {
    let mut out = vec![];
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        rest = match rest.strip_prefix('"') {
            Some(quoted) => take_quoted(quoted, &mut out),
            None => take_digits(rest, &mut out),
        }
        .ok_or_else(|| Failure::new(format!("not bytes: {rest}")))?
        .trim_start();
    }
    Ok(out)
}

/// What follows the closing quote.
fn take_quoted<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let mut chars = text.char_indices();
    loop {
        match chars.next()? {
            (end, '"') => return text.get(end + 1..),
            (_, '\\') => out.push(ascii(chars.next()?.1)?),
            (_, other) => out.push(ascii(other)?),
        }
    }
}

fn ascii(char: char) -> Option<u8> {
    u8::try_from(char).ok().filter(u8::is_ascii)
}

fn take_digits<'a>(text: &'a str, out: &mut Vec<u8>) -> Option<&'a str> {
    let end = text.find([' ', '"']).unwrap_or(text.len());
    let (group, rest) = text.split_at(end);
    let (digits, times) = group.split_once('*').unwrap_or((group, "1"));
    let counted = times.bytes().all(|b| b.is_ascii_digit());
    let times = times.parse().ok().filter(|times| counted && *times <= LONGEST_RUN)?;
    let paired = !digits.is_empty() && digits.len().is_multiple_of(2);
    // Not by `from_str_radix` alone, which takes a sign.
    let hexadecimal = digits.bytes().all(|b| b.is_ascii_hexdigit());
    if !paired || !hexadecimal || (times != 1 && digits.len() != 2) {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).ok()).collect();
    out.extend(bytes?.repeat(times));
    Some(rest)
}

/// Drops a comment; a `#` between quotes begins none.
fn without_comment(line: &str) -> Result<&str, Failure> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, char) in line.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '#' if !quoted => return Ok(line[..at].trim_end()),
            _ => {}
        }
    }
    if quoted { Err(Failure::new("an open quote")) } else { Ok(line.trim_end()) }
}

/// Reads a file.
///
/// # Errors
/// [`Failure`] with the line.
pub fn parse(text: &str) -> Result<Vec<Statement>, Failure> {
    let mut lines = text.split('\n').enumerate();
    if lines.next().map(|(_, first)| first) != Some(FIRST_LINE) {
        return Err(Failure::new(format!("the first line must be {FIRST_LINE:?}")));
    }
    let mut statements = vec![];
    for (index, raw) in lines {
        parse_line(&mut statements, raw, index + 1).map_err(|f| f.at(index + 1, raw))?;
    }
    Ok(statements)
}

fn parse_line(statements: &mut Vec<Statement>, raw: &str, line: usize) -> Result<(), Failure> {
    let text = without_comment(raw)?;
    let is_head = !text.is_empty() && !text.starts_with(['+', ' ']);
    if text.is_empty() || is_head {
        if text.starts_with(char::is_whitespace) {
            return Err(Failure::new("only blanks begin a field"));
        }
        let words = text.split_whitespace().map(Into::into).collect();
        statements.push(Statement { words, fields: vec![], line, raw: vec![raw.into()] });
        return Ok(());
    }
    let last = statements.iter().rposition(|s| !s.words.is_empty());
    let last = last.ok_or_else(|| Failure::new("no statement to go on with"))?;
    // Comments between the lines of a statement stay between them.
    let comments: Vec<Statement> = statements.drain(last + 1..).collect();
    let last = &mut statements[last];
    last.raw.extend(comments.into_iter().flat_map(|comment| comment.raw));
    go_on(last, text)?;
    last.raw.push(raw.into());
    Ok(())
}

/// Adds a field to a statement, or what `+` adds to its last field or its words.
fn go_on(statement: &mut Statement, text: &str) -> Result<(), Failure> {
    if let Some(more) = text.strip_prefix('+') {
        match statement.fields.last_mut() {
            Some(field) => field.value.extend(parse_bytes(more)?),
            None => statement.words.extend(more.split_whitespace().map(Into::into)),
        }
        return Ok(());
    }
    let text = text.trim_start();
    let (name, value) = text.split_once(' ').unwrap_or((text, ""));
    if name.contains(char::is_whitespace) || name.contains('"') {
        return Err(Failure::new("no name of a field"));
    }
    statement.fields.push(Field { name: name.into(), value: parse_bytes(value)? });
    Ok(())
}

/// Writes a file. Statements that were read keep their lines as they were.
pub fn format_file(statements: &[Statement]) -> String {
    let mut out = String::from(FIRST_LINE);
    for statement in statements {
        out.push('\n');
        out.push_str(&format_statement(statement));
    }
    out
}

fn format_statement(statement: &Statement) -> String {
    if !statement.raw.is_empty() {
        return statement.raw.join("\n");
    }
    let mut out = statement.head();
    let width = statement.fields.iter().map(|f| f.name.len()).max().unwrap_or(0);
    for field in &statement.fields {
        for (index, line) in format_bytes(&field.value).iter().enumerate() {
            let (mark, name) = if index == 0 { (' ', field.name.as_str()) } else { ('+', "") };
            let text = format!("{mark} {name:<width$}  {line}");
            let _infallible = write!(out, "\n{}", text.trim_end());
        }
    }
    out
}

/// 32 bytes to a line in groups of 4, text in quotes, long runs of zeros short.
fn format_bytes(data: &[u8]) -> Vec<String> {
    if let Some(line) = prefixed_text(data) {
        return vec![line];
    }
    let used = data.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
    let zeros = data.len() - used;
    let head = if zeros >= SHORTEST_RUN { &data[..used] } else { data };
    let mut lines: Vec<String> =
        head.chunks(PER_LINE).map(|row| row.chunks(4).map(digits).collect::<Vec<_>>().join(" ")).collect();
    if zeros >= SHORTEST_RUN {
        let runs = (0..zeros).step_by(LONGEST_RUN).map(|done| LONGEST_RUN.min(zeros - done));
        lines.extend(runs.map(|run| format!("00*{run}")));
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// str8, str16 or target with printable text.
fn prefixed_text(data: &[u8]) -> Option<String> {
    let prefixes = [(1, data.get(..1)), (2, data.get(..2)), (2, data.get(1..2))];
    prefixes.into_iter().find_map(|(len, size)| {
        let size = size?.iter().fold(0, |n, &b| n << 8 | usize::from(b));
        let (prefix, text) = data.split_at_checked(len)?;
        let printable = text.iter().all(|b| (0x20..0x7f).contains(b));
        if text.len() != size || !(1..=LONGEST_TEXT).contains(&size) || !printable {
            return None;
        }
        let text = String::from_utf8_lossy(text).replace('\\', "\\\\").replace('"', "\\\"");
        Some(format!("{} \"{text}\"", digits(prefix)))
    })
}

/// Lower-case hexadecimal digits.
pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_every_notation() {
        let read = |text| parse_bytes(text).unwrap();
        assert_eq!(read("00ff 0A"), [0, 255, 10]);
        assert_eq!(read(r#"02 "a#" 00*3"#), b"\x02a#\0\0\0");
        assert_eq!(read(r#""\"\\""#), b"\"\\");
        let wrong =
            ["0", "0g", "+1", "\"open", "0102*3", "*3", "00*+3", "00*16385", "\"\u{e9}\"", "\"\\\u{e9}\""];
        for wrong in wrong {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let longest = [[0; LONGEST_RUN], [0; LONGEST_RUN]];
        let zeros = [LONGEST_RUN, LONGEST_RUN + 1, 2 * LONGEST_RUN].map(|len| &longest.as_flattened()[..len]);
        let others =
            [&b""[..], b"\x05hello", b"\x00\x05he\"lo", b"\x01\x03bob", &[7; 70], &[0; 40], &[1, 0, 0]];
        for data in others.into_iter().chain(zeros) {
            assert_eq!(parse_bytes(&format_bytes(data).join(" ")).unwrap(), data);
        }
    }

    #[test]
    fn a_file_keeps_its_lines() {
        let text = "sordino transcript 1\n# about\nat 5   # later\nclient send PING\n  token  00*4 # half\n+  01020304\n";
        let statements = parse(text).unwrap();
        assert_eq!(format_file(&statements), text);
        assert_eq!(statements[2].data(), [0, 0, 0, 0, 1, 2, 3, 4]);
        let text = "sordino transcript 1\nat 5\n  # between\n\n  token 00\n# behind\n";
        assert_eq!(format_file(&parse(text).unwrap()), text);
    }

    #[test]
    fn lines_that_would_be_read_in_two_ways() {
        for line in ["\tat 5", "at \"5", "at 5\n a\" \"\\\"\"", "at 5\n name\t00", "+ at", "  token 00"] {
            assert!(parse(&format!("{FIRST_LINE}\n{line}")).is_err(), "{line:?}");
        }
    }
}
