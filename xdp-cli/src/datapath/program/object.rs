//! Loading a program on existing maps. aya cannot: it loads an object with new maps, or with maps
//! that are pinned in a directory.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use aya_obj::generated::bpf_insn;
use aya_obj::{Map, ProgramSection};

use crate::datapath::program::error::{LoadError, chain};
use crate::datapath::sys::bpf::{self, Code, DebugInfo, Kind};

/// A program's object file, taken apart.
pub struct Object {
    object: aya_obj::Object,
}

/// An object whose programs use given maps.
pub struct OnMaps {
    object: aya_obj::Object,
    btf: Option<OwnedFd>,
}

impl Object {
    /// Parses an object file, whose bytes are aligned as the structures in them.
    pub fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        let object = aya_obj::Object::parse(bytes).map_err(|error| other(&error))?;
        Ok(Self { object })
    }

    /// Has the programs use these maps, which have to be all the maps that they name.
    pub fn on_maps(mut self, maps: &[(&str, BorrowedFd<'_>)]) -> Result<OnMaps, LoadError> {
        let btf = self.load_btf()?;
        let object = &mut self.object;
        let sections = object.functions.keys().map(|(section, _)| *section).collect();
        let declared: Vec<(String, Map)> = object.maps.drain().collect();
        let mut given = Vec::with_capacity(declared.len());
        for (name, map) in &declared {
            let Some((_, fd)) = maps.iter().find(|(given, _)| given == name) else {
                return Err(LoadError::Other(format!("no map was given for {name}")));
            };
            given.push((name.as_str(), fd.as_raw_fd(), map));
        }
        object.relocate_maps(given.into_iter(), &sections).map_err(|error| other(&error))?;
        object.relocate_calls(&sections).map_err(|error| other(&error))?;
        object.sanitize_functions(aya::features());
        Ok(OnMaps { object: self.object, btf })
    }

    /// Loads the object's type information, reduced to what this kernel understands.
    fn load_btf(&mut self) -> Result<Option<OwnedFd>, LoadError> {
        let Some(features) = aya::features().btf() else { return Ok(None) };
        let btf = self.object.fixup_and_sanitize_btf(features).map_err(|error| other(&error))?;
        let Some(btf) = btf else { return Ok(None) };
        let loaded = bpf::load_btf(&btf.to_bytes());
        loaded.map(Some).map_err(|error| {
            LoadError::Other(format!("the kernel refused the program's type information: {error}"))
        })
    }
}

impl OnMaps {
    /// Loads a program.
    pub fn load(&mut self, name: &str) -> Result<OwnedFd, LoadError> {
        let Self { object, btf } = self;
        let program = object
            .programs
            .get(name)
            .ok_or_else(|| LoadError::Other(format!("no program {name} in the object")))?;
        let function = object
            .functions
            .get(&program.function_key())
            .ok_or_else(|| LoadError::Other(format!("no code of {name} in the object")))?;
        let (functions, lines) =
            (function.func_info.func_info_bytes(), function.line_info.line_info_bytes());
        let debug = btf.as_ref().map(|btf| DebugInfo {
            btf: btf.as_fd(),
            functions: &functions,
            function_size: function.func_info_rec_size,
            lines: &lines,
            line_size: function.line_info_rec_size,
        });
        let code = Code {
            name,
            license: &program.license,
            instructions: bytes_of(&function.instructions),
            kind: match program.section {
                ProgramSection::SchedClassifier => Kind::Classifier,
                ProgramSection::Xdp { frags, .. } => Kind::Xdp { frags },
                _ => return Err(LoadError::Other(format!("{name} is of another kind"))),
            },
            debug,
        };
        bpf::load_program(&code).map_err(LoadError::Verifier)
    }
}

fn bytes_of(instructions: &[bpf_insn]) -> &[u8] {
    // SAFETY: an instruction is eight bytes without padding, and any bytes may be read as such.
    unsafe { std::slice::from_raw_parts(instructions.as_ptr().cast(), size_of_val(instructions)) }
}

fn other(error: &dyn std::error::Error) -> LoadError {
    LoadError::Other(chain(error))
}
