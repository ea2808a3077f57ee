//! Ways in which the same bytes can arrive.

/// All at once, byte by byte, and cut at places that follow from the bytes themselves.
pub fn ways(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    // FNV-1a: any function of the bytes will do, so that a failing input fails again.
    let mut state = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, &byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let mut cut = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = 1 + (state >> 33) as usize % [1, 3, 17, 90][(state >> 61) as usize % 4];
        let (piece, after) = rest.split_at(length.min(rest.len()));
        cut.push(piece);
        rest = after;
    }
    [vec![bytes], bytes.chunks(1).collect(), cut]
}
