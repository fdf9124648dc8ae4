//! A question and its answer, over UDP and TCP.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::answer::Answer;

/// What a server may send over UDP: more is fragmented on the way, and goes over TCP instead (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// Asks `servers` in turn, `attempts` times, until one knows. What one can't answer is asked of the next; the error
/// is the last one's.
pub(super) async fn ask(
    servers: &[SocketAddr],
    name: &Name,
    record: RecordType,
    bound: Duration,
    attempts: u8,
) -> Result<Answer, String> {
    let mut failure = "no server to ask".to_owned();
    for _ in 0..attempts {
        for server in servers {
            match ask_one(*server, name, record, bound).await.and_then(|message| Answer::read(&message)) {
                Ok(answer) => return Ok(answer),
                Err(error) => failure = format!("{server}, asked for {record} of {name}: {error}"),
            }
        }
    }
    Err(failure)
}

async fn ask_one(
    server: SocketAddr,
    name: &Name,
    record: RecordType,
    bound: Duration,
) -> Result<Message, String> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), record));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD);
    question.set_edns(edns);
    let message = bounded(bound, over_udp(server, &question)).await?;
    // RFC 6891 section 7: a server that does not know EDNS says so without it.
    let code = message.metadata.response_code;
    let message = if message.edns.is_none() && matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) {
        question.edns = None;
        bounded(bound, over_udp(server, &question)).await?
    } else {
        message
    };
    // RFC 2181 section 9: what was truncated is asked for again, and not used.
    if message.metadata.truncation {
        return bounded(bound, over_tcp(server, &question)).await;
    }
    Ok(message)
}

async fn bounded(
    bound: Duration,
    exchange: impl Future<Output = io::Result<Message>>,
) -> Result<Message, String> {
    match timeout(bound, exchange).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {bound:?}")),
    }
}

/// Waits for the answer to this question, whatever else arrives: who forges answers must not be able to end the wait
/// for the true one either.
async fn over_udp(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A port of its own, chosen by the kernel by chance, for each question (RFC 5452 section 9.2). Connected: the
    // kernel drops what comes from elsewhere.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&written(question)?).await?;
    let mut bytes = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut bytes).await?;
        let Some(datagram) = bytes.get(..length) else { continue };
        if let Some(message) = answer_to(question, datagram) {
            return Ok(message);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let bytes = written(question)?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    // RFC 7766 section 8: length and message in one write.
    stream.write_all(&[&length.to_be_bytes(), bytes.as_slice()].concat()).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).await?;
    match answer_to(question, &bytes) {
        Some(message) if message.metadata.truncation => Err(io::Error::other("truncated over TCP too")),
        Some(message) => Ok(message),
        None => Err(io::Error::other("what came over TCP is not an answer to the question")),
    }
}

fn written(question: &Message) -> io::Result<Vec<u8>> {
    question.to_vec().map_err(io::Error::other)
}

/// The answer to exactly this question (RFC 5452 section 9.1), if `bytes` are one.
fn answer_to(question: &Message, bytes: &[u8]) -> Option<Message> {
    // Cheap first: most of what is forged has the wrong id.
    if bytes.get(..2)? != question.metadata.id.to_be_bytes() {
        return None;
    }
    let message = match Message::from_vec(bytes) {
        Ok(message) => message,
        // A truncated message may end within a record: its head and question are enough to ask over TCP.
        Err(_) if bytes.get(2)? & 0b10 != 0 => truncated(bytes)?,
        Err(_) => return None,
    };
    let is_answer = message.metadata.message_type == MessageType::Response
        && message.metadata.op_code == question.metadata.op_code
        && message.queries == question.queries;
    is_answer.then_some(message)
}

/// The head of a message and its question, with no records.
fn truncated(bytes: &[u8]) -> Option<Message> {
    let mut head = bytes.to_vec();
    head.get_mut(6..12)?.fill(0);
    Message::from_vec(&head).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question() -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii("orders.internal.").unwrap(), RecordType::A));
        question
    }

    #[test]
    fn only_the_answer_to_the_question_is_one() {
        let question = question();
        let mut good = question.clone();
        good.metadata.message_type = MessageType::Response;
        let accepted = |message: &Message| answer_to(&question, &message.to_vec().unwrap()).is_some();
        assert!(accepted(&good));
        assert!(!accepted(&question), "the question itself, reflected");
        let mut wrong = good.clone();
        wrong.metadata.id = !wrong.metadata.id;
        assert!(!accepted(&wrong));
        for (name, record) in [("other.internal.", RecordType::A), ("orders.internal.", RecordType::AAAA)] {
            let mut wrong = good.clone();
            wrong.queries = vec![Query::query(Name::from_ascii(name).unwrap(), record)];
            assert!(!accepted(&wrong), "{name} {record}");
        }
        let mut none = good.clone();
        none.queries.clear();
        assert!(!accepted(&none));
    }

    #[test]
    fn a_message_that_was_cut_within_a_record_still_says_that_it_was_truncated() {
        let question = question();
        let mut answer = question.clone();
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.truncation = true;
        let mut bytes = answer.to_vec().unwrap();
        bytes[7] = 3; // three records are announced, and none is there
        let read = answer_to(&question, &bytes).unwrap();
        assert!(read.metadata.truncation && read.answers.is_empty());
        bytes[2] &= !0b10;
        assert!(answer_to(&question, &bytes).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let question = question();
            let mut with_id = question.metadata.id.to_be_bytes().to_vec();
            with_id.extend(bytes);
            if let Some(message) = answer_to(&question, &with_id) {
                let _ = Answer::read(&message);
            }
        }
    }
}
