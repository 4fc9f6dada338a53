//! Passes over bytes in blocks, with the processor's wide registers.

/// Bytes of a block that is passed over as a whole.
const BLOCK_BYTES: usize = 32;

/// The first place at or after `from` where `is` is not 0.
#[inline]
pub(super) fn first_place(text: &[u8], from: usize, is: impl Fn(u8) -> u8) -> Option<usize> {
    let (blocks, _) = text[from..].as_chunks::<BLOCK_BYTES>();
    let passed = blocks.iter().take_while(|block| block.iter().fold(0, |any, byte| any | is(*byte)) == 0).count();
    let at = from + passed * BLOCK_BYTES;
    text[at..].iter().position(|byte| is(*byte) != 0).map(|place| at + place)
}
