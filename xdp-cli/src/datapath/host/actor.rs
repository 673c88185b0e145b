//! Who runs this command.
//!
//! Nothing here waits for anybody: names of users are looked up in /etc/passwd alone, since other
//! sources (nsswitch.conf(5)) may be servers that do not answer.

use std::env;
use std::fs;
use std::process;

use nix::unistd::Uid;

use crate::datapath::host::waiting;
use crate::event::Actor;

/// What /proc/PID/loginuid has where nobody logged in, as for services.
const NOBODY_LOGGED_IN: u32 = u32::MAX;

/// The user who runs this command, and the command. Behind sudo(8) or su(1), it is the user who
/// logged in.
pub fn current() -> Actor {
    let words = fs::read("/proc/self/cmdline").unwrap_or_default();
    let command = waiting::command(&words).unwrap_or_else(|| "xdpctl".to_owned());
    let (user, uid) = user();
    Actor { user, uid, pid: process::id(), command }
}

fn user() -> (String, Option<u32>) {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    if let Ok(user) = env::var("SUDO_USER")
        && !user.is_empty()
    {
        return (user, number("SUDO_UID"));
    }
    let logged_in = fs::read_to_string("/proc/self/loginuid").ok();
    let logged_in = logged_in.and_then(|text| text.trim().parse::<u32>().ok());
    let uid = logged_in.filter(|&uid| uid != NOBODY_LOGGED_IN);
    let uid = uid.unwrap_or_else(|| Uid::current().as_raw());
    let name = fs::read_to_string("/etc/passwd").ok().and_then(|passwd| name_in(&passwd, uid));
    (name.unwrap_or_else(|| uid.to_string()), Some(uid))
}

/// The name of a user in a file of the form of passwd(5).
fn name_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_by_their_numbers() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n# no user\n\n:x:7:\nalice:x:1000:100::\n";
        assert_eq!(name_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(name_in(passwd, 100), None);
        assert_eq!(name_in(passwd, 7), None);
    }

    #[test]
    fn there_is_always_somebody() {
        let actor = current();
        assert_eq!(actor.pid, process::id());
        assert!(!actor.user.is_empty() && !actor.command.is_empty(), "{actor:?}");
    }
}
