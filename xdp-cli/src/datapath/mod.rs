pub mod bpf;
pub mod image_map;
pub mod program;
