//! The terminal of the chat: lines in, lines out, at the same time.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::thread;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use smol::channel::{Receiver, Sender, bounded};

use crate::failure::{Failure, Result};
use crate::text::output;

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const PLAIN: &str = "\x1b[0m";

/// Ends the marking of pasted text, which the editor begins with each line.
const PASTE_UNMARKED: &[u8] = b"\x1b[?2004l";

/// How a line stands out where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A message.
    Normal,
    /// States, events and hints.
    Quiet,
    /// What the person must see.
    Loud,
}

/// Input and output of the chat.
pub struct Screen {
    lines: Receiver<String>,
    /// The editor waits here before it reads the next line, so that the prompt is the present one.
    prompts: Sender<String>,
    printer: Option<Box<dyn ExternalPrinter + Send>>,
    interactive: bool,
    colours: bool,
    _mode: Option<TerminalMode>,
}

/// Restores the terminal's mode: the editor's thread may be within a line when the chat ends.
struct TerminalMode(Termios);

impl TerminalMode {
    fn save() -> Option<Self> {
        tcgetattr(io::stdin().as_fd()).ok().map(Self)
    }
}

impl Drop for TerminalMode {
    fn drop(&mut self) {
        // Nothing can be done for a terminal that is gone.
        let _ = io::stdout().write_all(PASTE_UNMARKED).and_then(|()| io::stdout().flush());
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}

impl Screen {
    /// An editor on a terminal; plain lines elsewhere.
    ///
    /// # Errors
    /// Exit code 1 when the thread for the input can't be started.
    pub fn open() -> Result<Self> {
        let (line_to, lines) = bounded(1);
        let (prompts, prompt_from) = bounded(1);
        let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
        let mode = interactive.then(TerminalMode::save).flatten();
        let editor = interactive.then(editor).flatten();
        let (editor, printer) =
            editor.map_or((None, None), |(editor, printer)| (Some(editor), Some(printer)));
        thread::Builder::new()
            .name("input".into())
            .spawn(move || match editor {
                Some(editor) => edit_lines(editor, &prompt_from, &line_to),
                None => read_lines(&prompt_from, &line_to),
            })
            .map_err(|e| Failure::failed(format!("the thread for the input can't be started: {e}")))?;
        Ok(Self { lines, prompts, printer, interactive, colours: output::colours(), _mode: mode })
    }

    /// Whether a person sits there.
    pub fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Lets the next line be typed.
    pub fn prompt(&self, prompt: &str) {
        // The thread has ended: so has the input, which `line` reports.
        let _ = self.prompts.try_send(prompt.to_owned());
    }

    /// The next line; `None` at the end of the input. May be dropped at any time.
    pub async fn line(&self) -> Option<String> {
        self.lines.recv().await.ok()
    }

    /// Shows text that is already safe for a terminal.
    ///
    /// # Errors
    /// Exit code 0 when standard output was closed, 1 for another failure.
    pub fn show(&mut self, text: &str, tone: Tone) -> Result<()> {
        let text = match (self.colours, tone) {
            (true, Tone::Quiet) => format!("{DIM}{text}{PLAIN}"),
            (true, Tone::Loud) => format!("{BOLD}{text}{PLAIN}"),
            _ => text.to_owned(),
        };
        match &mut self.printer {
            Some(printer) => printer
                .print(text + "\n")
                .map_err(|e| Failure::failed(format!("writing to the terminal failed: {e}"))),
            None => output::line(&text),
        }
    }
}

/// `None` for a terminal that can't do it, which then gets plain lines.
fn editor() -> Option<(DefaultEditor, Box<dyn ExternalPrinter + Send>)> {
    let mut editor = DefaultEditor::new().ok()?;
    let printer = editor.create_external_printer().ok()?;
    Some((editor, Box::new(printer)))
}

fn edit_lines(mut editor: DefaultEditor, prompts: &Receiver<String>, lines: &Sender<String>) {
    while let Ok(prompt) = prompts.recv_blocking() {
        match editor.readline(&prompt) {
            Ok(line) => {
                let _ = editor.add_history_entry(line.as_str());
                if lines.send_blocking(line).is_err() {
                    return;
                }
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => return,
            Err(error) => return output::note(&format!("the terminal can't be read: {error}")),
        }
    }
}

fn read_lines(prompts: &Receiver<String>, lines: &Sender<String>) {
    let mut input = io::stdin().lock().lines();
    while prompts.recv_blocking().is_ok() {
        match input.next() {
            Some(Ok(line)) => {
                if lines.send_blocking(line).is_err() {
                    return;
                }
            }
            Some(Err(error)) => return output::note(&format!("standard input can't be read: {error}")),
            None => return,
        }
    }
}
