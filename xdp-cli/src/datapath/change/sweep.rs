//! Removing what was left of network namespaces that no longer exist.
//!
//! Pins hold maps even where no interface is left that a packet could come from. What was attached
//! in a namespace when the namespace was deleted would keep its memory until the machine restarts.
//! No command can run in that namespace any more, so commands in other ones remove it.
//!
//! Nothing is removed that might still be in use. The namespace has to be gone for certain
//! ([`loopback`]), each pinned link has to be on no interface (a network card goes back to the
//! machine when its namespace is deleted, with the program still on it), and no command may hold
//! the namespace's lock. Where one of these cannot be told, everything is left alone.

use std::fs;
use std::io;
use std::path::Path;

use crate::datapath::attached::attachment::{Attachment, Found, LINK};
use crate::datapath::attached::key::PinDirectory;
use crate::datapath::attached::namespace::PASS;
use crate::datapath::error::{Context, Result};
use crate::datapath::host::bpffs::PinRoot;
use crate::datapath::host::carriers::Carriers;
use crate::datapath::host::run_dir::RunDir;
use crate::datapath::host::{loopback, netns};
use crate::datapath::sys::{bpf, private_dir};

/// What was left of a network namespace, and was removed.
pub struct Swept {
    /// Where xdpctl was attached, by the names that the interfaces had then.
    pub interfaces: Vec<String>,
    /// Bytes of memory that the maps took.
    pub map_bytes: u64,
}

/// Removes what was left of each network namespace that no longer exists, and says what of each.
pub fn sweep() -> Result<Vec<Result<Swept>>> {
    let Some(pins) = PinRoot::existing()? else { return Ok(Vec::new()) };
    let own = netns::cookie()?;
    let others = pins.cookies()?.into_iter().filter(|&cookie| cookie != own);
    Ok(others.filter_map(|cookie| sweep_one(&pins, cookie).transpose()).collect())
}

fn sweep_one(pins: &PinRoot, cookie: u64) -> Result<Option<Swept>> {
    // Asked without the lock, so that commands in live namespaces do not wait for this one. A
    // directory that is not root's alone is skipped: those commands report it.
    let Ok(Some(directory)) = pins.existing_dir(cookie, &[]) else { return Ok(None) };
    let is_left =
        || loopback::is_gone(&directory) && is_on_no_interface(&directory).is_ok_and(|no| no);
    if !is_left() && !is_empty(&directory) {
        return Ok(None);
    }
    // An empty directory, as a killed command leaves it, is removed with the lock.
    let Ok(Some(lock)) = pins.try_lock(cookie) else { return Ok(None) };
    if !is_left() {
        return Ok(None);
    }
    let swept = look(&directory);
    // Files go first, and last the map by which the namespace is known to be gone: wherever this
    // sweep stops, the next one goes on.
    let what = format!("remove {}", pins.shown(&directory).display());
    if let Some(run) = RunDir::existing(cookie)? {
        run.remove()?;
    }
    for entry in fs::read_dir(&directory).context(&what)? {
        let entry = entry.context(&what)?;
        if entry.file_name() != loopback::PIN {
            remove_all(&entry.path()).context(&what)?;
        }
    }
    private_dir::remove(&directory.join(loopback::PIN)).context(&what)?;
    pins.release(lock)?;
    Ok(Some(swept))
}

/// Whether none of the links that are pinned below a namespace's directory is on an interface.
fn is_on_no_interface(directory: &Path) -> io::Result<bool> {
    let on_none = |path: &Path| match bpf::open_pin(path) {
        // An interrupted command leaves pins without a link.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        link => Ok::<_, io::Error>(bpf::link_info(link?)?.ifindex == 0),
    };
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == PASS {
            for pass in fs::read_dir(entry.path())? {
                if !on_none(&pass?.path())? {
                    return Ok(false);
                }
            }
        } else if entry.file_name() != loopback::PIN && !on_none(&entry.path().join(LINK))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// What there is, as far as this version can read it.
fn look(directory: &Path) -> Swept {
    let mut swept = Swept { interfaces: Vec::new(), map_bytes: 0 };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Some(key) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let (path, shown) = (entry.path(), entry.path());
        // Its links are on no interface, so nobody is asked which carries their programs.
        let (pins, mut carriers) =
            (PinDirectory { key, path, shown, state: None }, Carriers::default());
        if let Ok(Found::Attached(attachment)) = Attachment::open(&pins, &mut carriers) {
            swept.interfaces.push(attachment.name());
            swept.map_bytes += attachment.map_bytes().unwrap_or(0);
        }
    }
    swept.interfaces.sort();
    swept
}

fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        other => other,
    }
}
