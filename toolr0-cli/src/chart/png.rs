//! Writing PNG: three bytes a pixel, each row as its difference to the row above, runs of equal pixels in short.
//!
//! Charts are plain surfaces, so that this is as small as need be without a library for compression.

/// Bytes of a pixel.
const PIXEL: usize = 3;

/// A PNG file of `pixels`, red, green and blue from 0 to 255, `width` of them to a row.
pub(super) fn encode(pixels: &[[u8; 3]], width: usize) -> Vec<u8> {
    let height = pixels.len() / width.max(1);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut head = Vec::new();
    head.extend((width as u32).to_be_bytes());
    head.extend((height as u32).to_be_bytes());
    // Eight bits, colour, and the only compression, filters and order of rows that there are.
    head.extend([8, 2, 0, 0, 0]);
    chunk(b"IHDR", &head, &mut file);
    let mut rows = Vec::with_capacity(height * (3 * width + 1));
    let above = std::iter::once(None).chain(pixels.chunks_exact(width).map(Some));
    for (row, above) in pixels.chunks_exact(width).zip(above) {
        // Filter 2, "up".
        rows.push(2);
        for (x, pixel) in row.iter().enumerate() {
            let above = above.map_or([0; 3], |above| above[x]);
            rows.extend((0..3).map(|i| pixel[i].wrapping_sub(above[i])));
        }
    }
    chunk(b"IDAT", &zlib(&rows), &mut file);
    chunk(b"IEND", &[], &mut file);
    file
}

fn chunk(name: &[u8; 4], data: &[u8], file: &mut Vec<u8>) {
    file.extend((data.len() as u32).to_be_bytes());
    let from = file.len();
    file.extend(name);
    file.extend(data);
    let sum = crc(&file[from..]);
    file.extend(sum.to_be_bytes());
}

/// CRC-32 of ISO 3309, as PNG wants it.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    let table: [u32; 256] = std::array::from_fn(|n| (0..8).fold(n as u32, step));
    !bytes.iter().fold(!0, |crc: u32, byte| table[(crc as u8 ^ byte) as usize] ^ (crc >> 8))
}

/// A zlib stream (RFC 1950) of one deflate block with the fixed code (RFC 1951), in which a pixel that repeats is a
/// match at the distance of one.
fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = Bits { bytes: vec![0x78, 0x01], held: 0, n: 0 };
    out.low(0b011, 3);
    let mut at = 0;
    while at < bytes.len() {
        let again = bytes[at..].iter().zip(&bytes[at.saturating_sub(PIXEL)..]);
        // Lengths are told from 3 to 258.
        let run =
            if at < PIXEL { 0 } else { again.take(258).take_while(|(byte, before)| byte == before).count() };
        if run < 3 {
            out.symbol(u16::from(bytes[at]));
            at += 1;
        } else {
            out.length(run);
            // The distance: of 1 to 4 each has a code of five bits, the highest first.
            out.low(u32::from((PIXEL as u8 - 1).reverse_bits() >> 3), 5);
            at += run;
        }
    }
    out.symbol(256);
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let mut bytes = out.end();
    bytes.extend((b << 16 | a).to_be_bytes());
    bytes
}

/// Bits, the lowest of a byte first.
struct Bits {
    bytes: Vec<u8>,
    held: u64,
    n: u32,
}

impl Bits {
    /// `n` bits of a number, the lowest first.
    fn low(&mut self, bits: u32, n: u32) {
        self.held |= u64::from(bits) << self.n;
        self.n += n;
        while 8 <= self.n {
            self.bytes.push(self.held as u8);
            (self.held, self.n) = (self.held >> 8, self.n - 8);
        }
    }

    /// A symbol in the fixed code, the highest bit first.
    fn symbol(&mut self, symbol: u16) {
        let (code, n) = match symbol {
            0..=143 => (0x30 + symbol, 8),
            144..=255 => (0x190 + symbol - 144, 9),
            256..=279 => (symbol - 256, 7),
            _ => (0xc0 + symbol - 280, 8),
        };
        self.low(u32::from(code.reverse_bits() >> (16 - n)), n);
    }

    /// A length from 3 to 258: its symbol, and the bits that follow it.
    fn length(&mut self, length: usize) {
        if length == 258 {
            return self.symbol(285);
        }
        let from = (length - 3) as u32;
        if from < 8 {
            return self.symbol(257 + from as u16);
        }
        // Four symbols to each power of two.
        let extra = from.ilog2() - 2;
        let symbol = 261 + 4 * extra + (from >> extra & 3);
        self.symbol(symbol as u16);
        self.low(from & ((1 << extra) - 1), extra);
    }

    fn end(mut self) -> Vec<u8> {
        if 0 < self.n {
            self.bytes.push(self.held as u8);
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read back by Python's `zlib` and compared there; the numbers are those of its `zlib.crc32`.
    #[test]
    fn files_are_those_that_another_reader_took() {
        assert_eq!(crc(b"IEND"), 0xae42_6082);
        let pixels: Vec<[u8; 3]> =
            (0..700_u32).map(|i| [if i < 600 { 255 } else { 7 }, (i / 9) as u8, 200]).collect();
        let file = encode(&pixels, 70);
        assert!(file.starts_with(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x46\0\0\0\x0a\x08\x02\0\0\0"));
        assert!(file.ends_with(b"\0\0\0\0IEND\xae\x42\x60\x82"));
        assert_eq!((file.len(), crc(&file)), (504, 0x22c9_fcca));
    }

    #[test]
    fn a_plain_surface_is_small() {
        assert!(encode(&[[255; 3]; 90_000], 300).len() < 4000);
    }
}
