//! bpf(2), for what aya cannot do: links with the interface that they are on, maps that are filled
//! through memory or in one call, per-CPU values, programs on existing maps, and test runs.
//!
//! The attribute blocks are those of include/uapi/linux/bpf.h, `union bpf_attr`, one structure
//! for each command that is used here.

mod call;
mod elements;
mod links;
mod maps;
mod objects;
mod per_cpu;
mod programs;

pub(in crate::datapath) use call::{bpf, bpf_fd, kernel_name, raw};
pub use elements::{Elements, all_elements, delete_elements, lookup_keyed, update_elements};
pub use links::{
    InterfaceLink, create_egress_link, create_xdp_link, detach_link, egress_link_info, link_info,
    update_link,
};
pub use maps::{
    Map, create_keyed_map, create_map, create_map_of_maps, delete, lookup, lookup_batch, map_info,
    update, update_batch,
};
pub use objects::{
    Program, Runs, link_by_id, map_by_id, open_pin, pin, program_by_id, program_info, program_runs,
    verified_instructions,
};
pub use per_cpu::{PerCpuValues, possible_cpus};
pub use programs::{
    Code, DebugInfo, Kind, Run, load_btf, load_program, run_egress, run_xdp, run_xdp_from,
};
