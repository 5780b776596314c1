//! Heads that are larger than usual: fields beyond those that have room on the stack, long lines, and what
//! they cost when they come in small pieces.

mod support;

use std::time::{Duration, Instant};

use http::{
    FIELDS_MAX, RequestError, RequestHead, RequestLimits, ResponseError, ResponseHead,
    ResponseLimits, Scan,
};
use support::*;

const LARGE: RequestLimits = RequestLimits {
    head_bytes_max: 1 << 20,
    line_bytes_max: 1 << 20,
    fields_max: FIELDS_MAX,
    ..LIMITS
};

const LARGE_RESPONSE: ResponseLimits =
    ResponseLimits { head_bytes_max: LARGE.head_bytes_max, fields_max: FIELDS_MAX };

/// So many field lines; each has a value of its own.
fn lines(count: usize) -> String {
    (0..count).map(|number| format!("X-{number}: {number}\r\n")).collect()
}

/// What parsing so many fields comes to: as many, or a refusal.
fn fields_of_request(
    version: &str,
    count: usize,
    fields_max: usize,
) -> Result<usize, RequestError> {
    let input = format!("GET / HTTP/{version}\r\nHost: h\r\n{}\r\n", lines(count - 1));
    let limits = RequestLimits { fields_max, ..LARGE };
    let mut head = RequestHead::default();
    let length = head.parse(input.as_bytes(), &mut Scan::default(), &limits)?;
    assert_eq!(length, Some(input.len()));
    let last = head.fields.last().expect("there are some");
    assert_eq!(last.value.of(input.as_bytes()), (count - 2).to_string().as_bytes());
    Ok(head.fields.len())
}

fn fields_of_response(
    version: &str,
    count: usize,
    fields_max: usize,
) -> Result<usize, ResponseError> {
    let input = format!("HTTP/{version} 200 OK\r\n{}\r\n", lines(count));
    let limits = ResponseLimits { fields_max, ..LARGE_RESPONSE };
    let mut head = ResponseHead::default();
    let length = head.parse(input.as_bytes(), &mut Scan::default(), &limits)?;
    assert_eq!(length, Some(input.len()));
    let last = head.fields.last().expect("there are some");
    assert_eq!(last.value.of(input.as_bytes()), (count - 1).to_string().as_bytes());
    Ok(head.fields.len())
}

/// RFC 9110, section 2.5: a later minor version is read as the latest that is known, whatever its size.
#[test]
fn as_many_fields_are_taken_as_the_limit_says_and_no_more() {
    for version in ["1.1", "1.2"] {
        for limit in [50, 99, 100, 101, 200, 1000, FIELDS_MAX] {
            for count in [limit - 1, limit] {
                assert_eq!(fields_of_request(version, count, limit), Ok(count));
                assert_eq!(fields_of_response(version, count, limit), Ok(count));
            }
            for count in [limit + 1, 2 * limit] {
                let refused = fields_of_request(version, count, limit);
                assert_eq!(refused, Err(RequestError::FieldsTooMany), "{version}: {count}");
                let refused = fields_of_response(version, count, limit);
                assert_eq!(refused, Err(ResponseError::FieldsTooMany), "{version}: {count}");
            }
        }
    }
}

/// A wrong line is refused for what it is, wherever it stands.
#[test]
fn a_malformed_line_behind_many_others_is_refused_as_one() {
    for version in ["1.1", "1.2"] {
        let many = lines(150);
        let input = format!("GET / HTTP/{version}\r\nHost: h\r\n{many}no colon\r\n\r\n");
        let outcome = request_within(input.as_bytes(), &LARGE).map(|head| head.is_some());
        assert_eq!(outcome, Err(RequestError::Field));
        let input = format!("HTTP/{version} 200 OK\r\n{many}no colon\r\n\r\n");
        let mut head = ResponseHead::default();
        let outcome = head.parse(input.as_bytes(), &mut Scan::default(), &LARGE_RESPONSE);
        assert_eq!(outcome, Err(ResponseError::Field));
    }
}

/// What the connection has of its own is left behind among many fields as among few.
#[test]
fn options_among_many_fields_stay_on_the_connection() {
    let many = lines(1000);
    let input = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: x-7\r\n{many}\r\n");
    let mut head = RequestHead::default();
    head.parse(input.as_bytes(), &mut Scan::default(), &LARGE).expect("it is well-formed");
    let sent = upstream(&head, input.as_bytes(), STRANGER, &[]);
    let sent = String::from_utf8(sent).expect("it is text");
    assert!(sent.contains("\r\nX-999: 999\r\n") && !sent.contains("X-7: "), "{sent}");
}

/// Twenty seconds are a hundred times what it takes. Where each piece costs something of what came
/// before, it is an hour.
const PATIENCE: Duration = Duration::from_secs(20);

/// A megabyte byte by byte: half of it is the first line, which is looked at twice, and not with each byte
/// that follows.
#[test]
fn a_head_that_comes_byte_by_byte_costs_no_square_of_its_length() {
    let half = "x".repeat(1 << 19);
    let tail = "y".repeat((1 << 19) - 100);
    let request = format!("GET /{half} HTTP/1.1\r\nHost: h\r\nX: {tail}\r\n\r\n");
    let response = format!("HTTP/1.1 200 {half}\r\nX: {tail}\r\n\r\n");
    let began = Instant::now();
    let mut head = (RequestHead::default(), Scan::default());
    let mut answer = (ResponseHead::default(), Scan::default());
    let mut ends = (None, None);
    for end in 1..=request.len() {
        assert!(began.elapsed() < PATIENCE, "{end} bytes took so long");
        let bytes = &request.as_bytes()[..end];
        ends.0 = head.0.parse(bytes, &mut head.1, &LARGE).expect("it is well-formed");
        let bytes = &response.as_bytes()[..end.min(response.len())];
        ends.1 = ends.1.or(answer.0.parse(bytes, &mut answer.1, &LARGE_RESPONSE).expect("as well"));
    }
    assert_eq!(ends, (Some(request.len()), Some(response.len())));
}
