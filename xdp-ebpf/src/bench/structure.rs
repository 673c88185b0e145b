//! The bare prototype's structure, see `prototype.rs`. The benchmark includes this file.

/// Blocks, of 64 /24s each: a word with a bit for each that holds a listed address, and a word with
/// the number of descriptors before the first.
pub const BLOCKS: usize = 1 << 18;

/// Descriptors, each of a /24: [`LEAF`] and the number of a leaf, or a mask (bits 8 to 15) and a
/// value (bits 0 to 7) for the last byte of the address.
pub const DESCRIPTORS: usize = 1 << 22;
pub const LEAF: u32 = 1 << 31;

/// Leaves. A leaf has a bit, in four words, for each address of a /24 that no single mask
/// describes.
pub const LEAVES: usize = 1 << 16;

/// Whether a descriptor of the second kind holds the address with that last byte.
#[inline(always)]
pub const fn descriptor_holds(descriptor: u32, host: u32) -> bool {
    (descriptor ^ host) & (descriptor >> 8) & 0xff == 0
}
