//! The first message of PostgreSQL's protocol and what a server may answer to it.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use super::connect;

/// What a server said to a start-up message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It asks for authentication or lets us in: it accepts connections.
    Accepting,
    /// It is there and not yet (or no longer) accepting: SQLSTATE 57P03.
    NotYet(String),
    /// It accepts connections and refused this one.
    Refused { code: String, message: String },
}

/// Sends a start-up message and reads the first answer; nothing is authenticated.
pub(crate) fn ask(
    address: SocketAddr,
    user: &str,
    database: &str,
    within: Duration,
) -> io::Result<Answer> {
    let mut stream = connect(address, within)?;
    stream.write_all(&startup_message(user, database))?;
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    if !(4..=65_536).contains(&length) {
        return Err(io::Error::other("the answer is not PostgreSQL's protocol"));
    }
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body)?;
    read_answer(head[0], &body)
}

/// Protocol 3.0: length, version, then name and value pairs, each ended by a zero.
fn startup_message(user: &str, database: &str) -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    for text in [
        "user",
        user,
        "database",
        database,
        "application_name",
        "test-servers",
        "",
    ] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [length.to_be_bytes().as_slice(), &body].concat()
}

fn read_answer(tag: u8, body: &[u8]) -> io::Result<Answer> {
    match tag {
        b'R' => Ok(Answer::Accepting),
        b'E' => {
            let field = |wanted: u8| {
                body.split(|byte| *byte == 0)
                    .find(|field| field.first() == Some(&wanted))
                    .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
                    .unwrap_or_default()
            };
            let (code, message) = (field(b'C'), field(b'M'));
            Ok(if code == "57P03" {
                Answer::NotYet(message)
            } else {
                Answer::Refused { code, message }
            })
        }
        _ => Err(io::Error::other("the answer is not PostgreSQL's protocol")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_startup_message_has_the_length_it_says() {
        let message = startup_message("u", "d");
        assert_eq!(
            message[..4],
            u32::try_from(message.len()).unwrap().to_be_bytes()
        );
        assert_eq!(message[4..8], [0, 3, 0, 0]);
        assert!(message.ends_with(b"test-servers\0\0"));
    }

    #[track_caller]
    fn check(tag: u8, body: &[u8], expected: &Answer) {
        assert_eq!(&read_answer(tag, body).unwrap(), expected);
    }

    #[test]
    fn only_57p03_means_not_yet() {
        check(b'R', &[0, 0, 0, 10], &Answer::Accepting);
        let starting = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
        check(
            b'E',
            starting,
            &Answer::NotYet("the database system is starting up".to_owned()),
        );
        check(
            b'E',
            b"SFATAL\0C3D000\0Mno such database\0\0",
            &Answer::Refused {
                code: "3D000".to_owned(),
                message: "no such database".to_owned(),
            },
        );
        assert!(read_answer(b'H', b"TTP/1.1").is_err());
    }
}
