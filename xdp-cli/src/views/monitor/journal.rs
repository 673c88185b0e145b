//! An event as the fields that the journal takes (systemd.journal-fields(7)).

use super::text;
use crate::event::{Event, What};

/// syslog's priorities.
const WARNING: u8 = 4;
const NOTICE: u8 = 5;
const INFO: u8 = 6;

/// A name, and a value that may be anything.
pub type Field = (&'static str, String);

/// The fields of an event. A name may come more than once: the journal keeps all values.
pub fn fields(event: &Event) -> Vec<Field> {
    let mut fields = vec![
        ("MESSAGE", message(event)),
        ("MESSAGE_ID", message_id(&event.what).to_owned()),
        ("PRIORITY", priority(&event.what).to_string()),
        ("SYSLOG_IDENTIFIER", "xdpctl".to_owned()),
        ("XDPCTL_EVENT", event.what.name().to_owned()),
    ];
    let mut add = |name, value: Option<String>| fields.extend(value.map(|value| (name, value)));
    add("XDPCTL_INTERFACE", event.interface.clone());
    add("XDPCTL_IFINDEX", event.ifindex.map(|index| index.to_string()));
    add("XDPCTL_NAMESPACE", event.namespace.clone());
    if let Some(actor) = &event.by {
        add("XDPCTL_USER", Some(actor.user.clone()));
        add("XDPCTL_UID", actor.uid.map(|uid| uid.to_string()));
        add("XDPCTL_COMMAND", Some(actor.command.clone()));
    }
    match &event.what {
        What::Attach { mode, generation, config, replaced: _, confirm_seconds, restored: _ } => {
            add("XDPCTL_MODE", Some(mode.clone()));
            add("XDPCTL_GENERATION", Some(generation.to_string()));
            add("XDPCTL_CONFIG", Some(config.clone()));
            add("XDPCTL_CONFIRM_SECONDS", confirm_seconds.map(|seconds| seconds.to_string()));
        }
        What::Reload { generation, config, changes, confirm_seconds } => {
            add("XDPCTL_CONFIRM_SECONDS", confirm_seconds.map(|seconds| seconds.to_string()));
            add("XDPCTL_GENERATION", Some(generation.to_string()));
            add("XDPCTL_CONFIG", Some(config.clone()));
            for change in &changes.0 {
                add("XDPCTL_CHANGE", Some(change.clone()));
            }
        }
        What::Set { kind, owner, for_seconds, note, count, prefixes } => {
            add("XDPCTL_KIND", Some(kind.as_str().to_owned()));
            add("XDPCTL_OWNER", Some(owner.clone()));
            add("XDPCTL_FOR_SECONDS", for_seconds.map(|seconds| seconds.to_string()));
            add("XDPCTL_NOTE", note.clone());
            add("XDPCTL_COUNT", Some(count.to_string()));
            prefixes.iter().for_each(|prefix| add("XDPCTL_PREFIX", Some(prefix.clone())));
        }
        What::Unset { owner, count, prefixes } => {
            add("XDPCTL_OWNER", owner.clone());
            add("XDPCTL_COUNT", Some(count.to_string()));
            prefixes.iter().for_each(|prefix| add("XDPCTL_PREFIX", Some(prefix.clone())));
        }
        What::Bypass { on } => {
            add("XDPCTL_BYPASS", Some(if *on { "on" } else { "off" }.to_owned()));
        }
        What::Backend { service, backend, state, for_seconds, note } => {
            add("XDPCTL_SERVICE", Some(service.clone()));
            add("XDPCTL_BACKEND", Some(backend.clone()));
            add("XDPCTL_STATE", Some(state.clone()));
            add("XDPCTL_FOR_SECONDS", for_seconds.map(|seconds| seconds.to_string()));
            add("XDPCTL_NOTE", note.clone());
        }
        What::Confirm { generation } | What::Rollback { generation, .. } => {
            add("XDPCTL_GENERATION", generation.map(|number| number.to_string()));
        }
        What::Health { service, backend, up, why, in_a_row: _ } => {
            add("XDPCTL_SERVICE", Some(service.clone()));
            add("XDPCTL_BACKEND", Some(backend.clone()));
            add("XDPCTL_STATE", Some(if *up { "up" } else { "down" }.to_owned()));
            add("XDPCTL_WHY", why.clone());
        }
        What::Detach { .. }
        | What::Sweep { .. }
        | What::Ended { .. }
        | What::Link { .. }
        | What::Target { .. } => {}
    }
    fields
}

/// The sentence, and the network namespace where it is not the machine's own.
pub fn message(event: &Event) -> String {
    let sentence = text::sentence(event);
    match event.namespace.as_deref() {
        None | Some("host") => sentence,
        Some(namespace) => format!("{sentence}, in network namespace {namespace}"),
    }
}

/// Warnings are what leaves packets unfiltered that were not meant to be, and backends that are down.
pub const fn priority(what: &What) -> u8 {
    match what {
        What::Bypass { on: true } | What::Rollback { .. } | What::Health { up: false, .. } => {
            WARNING
        }
        What::Set { .. } | What::Unset { .. } | What::Ended { .. } | What::Sweep { .. } => INFO,
        _ => NOTICE,
    }
}

/// A number for each kind of event, by which `journalctl MESSAGE_ID=...` finds it. They never
/// change.
const fn message_id(what: &What) -> &'static str {
    match what {
        What::Attach { .. } => "e88497ef2b214616a307296f26a3fe27",
        What::Reload { .. } => "18268ac196d54ea989f648dbf00b0341",
        What::Detach { .. } => "497cc68cc6394bb0afb9642cc4dcaf52",
        What::Confirm { .. } => "cf20a40ec794476ab21144e194d94498",
        What::Rollback { .. } => "479b368a99fc4f548fd2bb6b4d4742fc",
        What::Set { .. } => "424c0c7d7c10443c851e0904826bcbc4",
        What::Unset { .. } => "9a457cabd42e43cfb65562f439cc63ef",
        What::Bypass { .. } => "3b8efcbeec3f47f5a269638d0e93df19",
        What::Backend { .. } => "6d0d2b0e0f7c4a4fb2f3a1c84e5d9a71",
        What::Health { .. } => "a77abd419d974d9ca830f8f8406662b0",
        What::Sweep { .. } => "fbc6fdcfab394758895a8617e4489b12",
        What::Ended { .. } => "11fbf7f2e1a54877a1e057896a74cb7e",
        What::Link { .. } => "69f3dc68eeb44755857e9eb097d392a2",
        What::Target { .. } => "0ceea4e4cb4148d981237daa10fc980e",
    }
}
