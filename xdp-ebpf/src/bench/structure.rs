//! The bare prototype's structure, see `prototype.rs`. The benchmark includes this file.

/// Of 64 /24s: a bit for each that holds a listed address, and the descriptors before the first.
pub type Block = [u64; 2];
pub const BLOCKS: usize = 1 << 18;

/// Of a /24: [`LEAF`] and the number of a leaf; or a mask and a value of the last byte.
pub const DESCRIPTORS: usize = 1 << 22;
pub const LEAF: u32 = 1 << 31;

/// The addresses of a /24 that no one mask describes, a bit each.
pub type Leaf = [u64; 4];
pub const LEAVES: usize = 1 << 16;

/// Of a prefix inside a /24, or the whole /24: `length` is 24 to 32.
pub const fn descriptor(length: u8, host: u8) -> u32 {
    let mask = 0xff00_u32 >> (length - 24) & 0xff;
    mask << 8 | host as u32
}

#[inline(always)]
pub const fn descriptor_holds(descriptor: u32, host: u32) -> bool {
    (descriptor ^ host) & (descriptor >> 8) & 0xff == 0
}
