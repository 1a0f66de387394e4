//! MongoDB's `OP_MSG`, one command at a time.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bson::{Document, doc};

use super::connect;

const OP_MSG: i32 = 2013;
const LARGEST: usize = 48 * 1024 * 1024;

/// One connection on which commands are run in turn.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    next_id: i32,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr, within: Duration) -> io::Result<Self> {
        Ok(Self {
            stream: connect(address, within)?,
            next_id: 1,
        })
    }

    /// Runs `command` and gives the answer, whatever it says.
    pub(crate) fn run(&mut self, database: &str, mut command: Document) -> io::Result<Document> {
        command.insert("$db", database);
        let message = encode(self.next_id, &command)?;
        self.next_id += 1;
        self.stream.write_all(&message)?;
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let [length, _, _, code] = [0, 4, 8, 12]
            .map(|at| i32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        let length = usize::try_from(length).unwrap_or(0);
        if code != OP_MSG || !(21..=LARGEST).contains(&length) {
            return Err(io::Error::other("the answer is not MongoDB's protocol"));
        }
        let mut body = vec![0; length - 16];
        self.stream.read_exact(&mut body)?;
        // Four bytes of flags, then one section of kind 0: a document.
        Document::from_reader(&body[5..]).map_err(io::Error::other)
    }
}

fn encode(id: i32, command: &Document) -> io::Result<Vec<u8>> {
    let mut body = vec![0; 16 + 5];
    command.to_writer(&mut body).map_err(io::Error::other)?;
    let length = i32::try_from(body.len()).map_err(io::Error::other)?;
    for (at, value) in [(0, length), (4, id), (12, OP_MSG)] {
        body[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    Ok(body)
}

/// The answer to `hello`, as far as readiness goes.
pub(crate) fn hello(address: SocketAddr, within: Duration) -> io::Result<Document> {
    Connection::open(address, within)?.run("admin", doc! { "hello": 1 })
}

/// Whether `answer` says yes; if not, the server's code name and message.
pub(crate) fn accepted(answer: &Document) -> Result<(), String> {
    let ok = answer
        .get("ok")
        .and_then(|ok| ok.as_f64().or_else(|| ok.as_i32().map(f64::from)));
    if ok == Some(1.0) {
        return Ok(());
    }
    let name = answer.get_str("codeName").unwrap_or("no code");
    Err(format!(
        "{name}: {}",
        answer.get_str("errmsg").unwrap_or("no message")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_the_length_and_code_it_says() {
        let message = encode(7, &doc! { "hello": 1, "$db": "admin" }).unwrap();
        assert_eq!(
            message[..4],
            i32::try_from(message.len()).unwrap().to_le_bytes()
        );
        assert_eq!(message[4..8], 7_i32.to_le_bytes());
        assert_eq!(message[12..16], OP_MSG.to_le_bytes());
        let command = Document::from_reader(&message[21..]).unwrap();
        assert_eq!(command, doc! { "hello": 1, "$db": "admin" });
    }

    #[test]
    fn a_refusal_keeps_the_servers_words() {
        assert_eq!(accepted(&doc! { "ok": 1.0 }), Ok(()));
        let refusal = doc! { "ok": 0.0, "codeName": "Unauthorized", "errmsg": "not allowed" };
        assert_eq!(
            accepted(&refusal),
            Err("Unauthorized: not allowed".to_owned())
        );
    }
}
