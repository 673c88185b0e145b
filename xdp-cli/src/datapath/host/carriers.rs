//! Which interface carries which XDP program: one question for all interfaces of the caller's network
//! namespace.
//!
//! To ask a link is not enough. It names its interface by an index, and goes on doing so when that
//! interface is moved to another network namespace. The index counts there; here another interface
//! may have it.

use std::io;

use crate::datapath::host::interface::{self, Error, Interface, Mode};

/// The interfaces, as rtnetlink alone describes them: without driver, offloads and XDP features.
#[derive(Debug, Default)]
pub struct Carriers(Vec<Interface>);

impl Carriers {
    /// Asks the kernel.
    pub fn ask() -> Result<Self, Error> {
        let told = |source: io::Error| Error::Kernel { what: "the interfaces".to_owned(), source };
        Ok(Self(interface::dump().map_err(told)?))
    }

    /// All of them, sorted by index.
    pub fn interfaces(&self) -> &[Interface] {
        &self.0
    }

    /// The interface with that index.
    pub fn by_index(&self, index: u32) -> Option<&Interface> {
        self.0.iter().find(|interface| interface.index == index)
    }

    /// The index of the interface of that name, which may be an alternative one; `None` where there is
    /// none.
    pub fn index_of(&self, name: &str) -> Result<Option<u32>, Error> {
        if let Some(interface) = self.0.iter().find(|interface| interface.name == name) {
            return Ok(Some(interface.index));
        }
        // The answer for all interfaces at once has no alternative names.
        match Interface::by_name(name) {
            Ok(interface) => Ok(Some(interface.index)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The interface with that index, and the mode that the program runs in, if it carries that
    /// program.
    pub fn carries(&self, index: u32, program_id: u32) -> Option<(&Interface, Mode)> {
        let interface = self.by_index(index)?;
        let attached = interface.xdp.iter().find(|attached| attached.program_id == program_id)?;
        Some((interface, attached.mode))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::host::interface::AttachedXdp;

    #[test]
    fn an_index_without_the_program_is_another_interface() {
        let xdp = vec![
            AttachedXdp { mode: Mode::Native, program_id: 40 },
            AttachedXdp { mode: Mode::Offload, program_id: 41 },
        ];
        let with = Interface { index: 7, name: "n0".into(), xdp, ..Interface::default() };
        let without = Interface { index: 8, name: "n1".into(), ..Interface::default() };
        let carriers = Carriers(vec![with, without]);
        let carrier = |index, program| {
            carriers.carries(index, program).map(|(it, mode)| (it.name.as_str(), mode))
        };
        assert_eq!(carrier(7, 40), Some(("n0", Mode::Native)));
        assert_eq!(carrier(7, 41), Some(("n0", Mode::Offload)));
        assert_eq!(carrier(7, 42), None);
        assert_eq!(carrier(8, 40), None);
        assert_eq!(carrier(9, 40), None);
        assert_eq!(carriers.index_of("n1").unwrap(), Some(8));
    }
}
