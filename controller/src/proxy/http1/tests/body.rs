//! Bodies as those that pass them on follow them: what belongs to a body, how it may end, and its trailers.

use super::*;

/// A body that ends, and what comes behind it.
const ENDING: [(Framing, &[u8]); 3] =
    [(Framing::None, b""), (Framing::Length(26), b"abcdefghijklmnopqrstuvwxyz"), (Framing::Chunked, CHUNKED)];

#[test]
fn consumes_a_body_to_its_last_byte_and_nothing_behind_it() {
    for (framing, body) in ENDING {
        let text = [body, b"GET / HTTP/1.1\r\n"].concat();
        // All at once, and with a cut anywhere.
        for cut in 0..=text.len() {
            let mut decoder = BodyDecoder::new(framing);
            let (first, second) = text.split_at(cut);
            let consumed = decoder.consume(first).unwrap();
            assert_eq!(consumed, cut.min(body.len()), "{framing:?} {cut}");
            assert_eq!(decoder.is_done(), cut >= body.len(), "{framing:?} {cut}");
            let rest = decoder.consume(&first[consumed..]).unwrap() + decoder.consume(second).unwrap();
            assert_eq!(consumed + rest, body.len(), "{framing:?} {cut}");
            assert!(decoder.is_done());
        }
    }
    let mut endless = BodyDecoder::new(Framing::UntilClose);
    assert_eq!(endless.consume(CHUNKED), Ok(CHUNKED.len()));
    assert!(!endless.is_done());
    assert_eq!(BodyDecoder::new(Framing::Chunked).consume(b"5\r\nhello\r\n!"), Err(Refusal::Chunk));
}

#[test]
fn a_body_cut_short_does_not_end_by_closing() {
    for (framing, body) in ENDING {
        for cut in 0..=body.len() {
            let mut decoder = BodyDecoder::new(framing);
            decoder.consume(&body[..cut]).unwrap();
            assert_eq!(decoder.may_close(), cut == body.len(), "{framing:?} {cut}");
        }
    }
    let mut endless = BodyDecoder::new(Framing::UntilClose);
    assert!(endless.may_close());
    endless.consume(b"abc").unwrap();
    assert!(endless.may_close());
}

#[test]
fn keeps_the_lines_of_trailers_where_asked_to() {
    for cut in 0..=CHUNKED.len() {
        let mut keeping = BodyDecoder::keeping_trailers(Framing::Chunked);
        let mut plain = BodyDecoder::new(Framing::Chunked);
        for piece in [&CHUNKED[..cut], &CHUNKED[cut..]] {
            keeping.consume(piece).unwrap();
            plain.consume(piece).unwrap();
        }
        assert_eq!(keeping.trailers(), b"X-Sum: 1\r\nY:\r\n", "{cut}");
        assert_eq!(plain.trailers(), b"");
    }
    let mut without = BodyDecoder::keeping_trailers(Framing::Chunked);
    without.consume(b"1\r\nx\r\n0\r\n\r\n").unwrap();
    assert_eq!(without.trailers(), b"");
}

#[test]
fn reads_chunk_sizes_of_several_digits_in_any_case() {
    for (digits, size) in [("1a", 0x1a), ("1A", 0x1a), ("0100", 0x100), ("fFf", 0xfff), ("12345", 0x12345)] {
        let data = vec![b'\r'; size];
        let text = [digits.as_bytes(), b"\r\n", &data, b"\r\n0\r\n\r\n"].concat();
        assert_eq!(decode(Framing::Chunked, &[&text]), Ok((data, text.len(), true)), "{digits}");
    }
}
