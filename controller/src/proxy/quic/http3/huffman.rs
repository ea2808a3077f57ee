//! The Huffman code of HPACK and QPACK (RFC 7541 appendix B).
//!
//! It is canonical: codes of one length follow each other in the order of their symbols, so the lengths are all there is
//! to write down.

/// Length of each byte's code, and of the end's, in bits.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6,
    12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5,
    6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22,
    22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21,
    20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22,
    23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26,
    28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27,
    28, 27, 27, 27, 27, 27, 26, 30,
];

const END: u16 = 256;
const LONGEST: usize = 30;
const SHORTEST: u32 = 5;

/// The code by length: symbols in order of their codes, and for each length the first code and the place of its symbol.
struct Table {
    symbols: [u16; 257],
    first: [u32; LONGEST + 2],
    place: [u16; LONGEST + 2],
}

const fn table() -> Table {
    let mut table = Table { symbols: [0; 257], first: [0; LONGEST + 2], place: [0; LONGEST + 2] };
    let mut count = 0;
    let mut code = 0;
    let mut length = 1;
    while length <= LONGEST {
        table.first[length] = code;
        table.place[length] = count;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                table.symbols[count as usize] = symbol as u16;
                count += 1;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    table.first[LONGEST + 1] = code;
    table.place[LONGEST + 1] = count;
    table
}

static TABLE: Table = table();

/// Appends what `coded` says to `out`; `None` if it is no code, or longer than `limit` bytes.
pub fn decode(coded: &[u8], limit: usize, out: &mut Vec<u8>) -> Option<()> {
    let end = out.len() + limit;
    let (mut bits, mut count) = (0u64, 0u32);
    for &byte in coded {
        bits = bits << 8 | u64::from(byte);
        count += 8;
        while let Some((symbol, length)) = next(bits, count) {
            if symbol == END || out.len() == end {
                return None;
            }
            out.push(symbol as u8);
            count -= length;
            bits &= (1 << count) - 1;
        }
    }
    // RFC 7541 section 5.2: padding is shorter than a byte and begins the end's code, which is all ones.
    (count < 8 && bits == (1 << count) - 1).then_some(())
}

/// The first symbol of the lowest `count` bits of `bits` and the length of its code, if they hold one.
fn next(bits: u64, count: u32) -> Option<(u16, u32)> {
    let mut length = SHORTEST;
    while length <= count && length as usize <= LONGEST {
        let code = (bits >> (count - length)) as u32;
        let at = length as usize;
        let of_length = TABLE.place[at + 1] - TABLE.place[at];
        if code < TABLE.first[at] + u32::from(of_length) {
            return Some((
                TABLE.symbols[TABLE.place[at] as usize + (code - TABLE.first[at]) as usize],
                length,
            ));
        }
        length += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, 64, &mut out).map(|()| out)
    }

    #[test]
    fn reads_the_examples_of_rfc_7541() {
        let examples: [(&[u8], &str); 4] = [
            (&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff], "www.example.com"),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], "custom-key"),
            (&[0x64, 0x02], "302"),
        ];
        for (coded, text) in examples {
            assert_eq!(decoded(coded).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(decoded(&[]), Some(vec![]));
    }

    #[test]
    fn reads_every_byte() {
        for (symbol, &length) in LENGTHS[..256].iter().enumerate() {
            let offset = LENGTHS[..symbol].iter().filter(|&&other| other == length).count();
            let (length, at) = (u32::from(length), usize::from(length));
            let code = u64::from(TABLE.first[at]) + offset as u64;
            let padding = (8 - length % 8) % 8;
            let padded = code << padding | ((1 << padding) - 1);
            let bytes = padded.to_be_bytes();
            let coded = &bytes[8 - ((length + padding) / 8) as usize..];
            assert_eq!(decoded(coded), Some(vec![symbol as u8]), "{symbol}");
        }
    }

    #[test]
    fn refuses_padding_that_is_none_and_what_is_too_long() {
        // A whole byte of padding, padding of zeros, and the end itself.
        assert_eq!(decoded(&[0x64, 0x02, 0xff]), None);
        assert_eq!(decoded(&[0b0000_0000]), None);
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], 7, &mut Vec::new()), None);
    }
}
