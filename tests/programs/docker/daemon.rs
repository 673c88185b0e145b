//! Debian's dockerd, with containerd and runc, for a test alone: in the network namespace of the device under
//! test, with mounts and processes of its own. All that it keeps is in a tmpfs, and of the machine's files it
//! can change only those in one folder.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::patience::{EVENT, patient};
use crate::lab::{Background, Lab, Output};

/// After this it ends by itself, where the test that started it was killed.
const LIFE: Duration = Duration::from_secs(300);

/// Its mounts. Control groups are those of version 2, whatever the machine has beside them.
const MOUNTS: &str = r#"
    mount -t sysfs sysfs /sys
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs /run
    mount --bind "$1" "$1"
    mount -o remount,bind,ro /
    exec timeout --signal KILL "$2" dockerd --config-file "$1/daemon.json"
"#;

/// Removes the control groups once their last process has ended.
const GROUPS: &str = r#"
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    cd /sys/fs/cgroup
    while [ -d "$1" ]; do
        find "$1" -depth -type d -exec rmdir {} + 2> /dev/null || sleep 0.01
    done
"#;

/// The image that containers are made of has no files but links into /usr, where the machine's is mounted.
const IMAGE: &str = "machine";

/// A dockerd that runs; with it end its containers.
pub struct Docker {
    daemon: Option<Background>,
    folder: PathBuf,
    /// The control group that those of its containers are in.
    group: String,
}

impl Docker {
    /// Starts it with these settings of daemon.json beside its own, and waits until it answers. The folder is
    /// /folder in the containers.
    #[track_caller]
    pub fn start(lab: &Lab, folder: &Path, settings: &Value) -> Self {
        let group = lab.namespace("dut").name.clone();
        let mut all = json!({
            "hosts": [socket(folder)],
            "data-root": "/run/data",
            "exec-root": "/run/exec",
            "pidfile": "/run/docker.pid",
            "deprecated-key-path": "/run/key.json",
            "storage-driver": "vfs",
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "cgroup-parent": format!("/{group}"),
        });
        let settings = settings.as_object().expect("settings have names").clone();
        all.as_object_mut().expect("so have these").extend(settings);
        fs::write(folder.join("daemon.json"), all.to_string()).expect("written");
        let mut command = lab.command("dut", "unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-ec", MOUNTS, "sh"]).arg(folder);
        command.arg(patient(LIFE).as_secs().to_string());
        let unpacked = [unpacked("usr/sbin"), unpacked("usr/bin")].map(PathBuf::into_os_string);
        let installed = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(Into::into);
        let path = [&unpacked[..], &installed].concat().join(OsStr::new(":"));
        command.env("PATH", path).env("HOME", "/run").env("TMPDIR", "/run");
        let daemon = Some(Background::start(command));
        let mut docker = Self { daemon, folder: folder.to_owned(), group };
        docker.await_answer();
        docker.import_image();
        docker
    }

    #[track_caller]
    fn await_answer(&mut self) {
        let deadline = Instant::now() + patient(EVENT);
        while self.try_docker(&["version"]).status != 0 {
            let daemon = self.daemon.as_mut().expect("it was started");
            assert!(daemon.is_running(), "dockerd: {}{}", daemon.stdout(), daemon.stderr());
            assert!(Instant::now() < deadline, "dockerd does not answer: {}", daemon.stderr());
            thread::sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn import_image(&self) {
        let root = self.folder.join("image");
        fs::create_dir(&root).expect("a folder");
        for name in ["bin", "sbin", "lib", "lib64"] {
            symlink(Path::new("usr").join(name), root.join(name)).expect("a link");
        }
        let archive = self.folder.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(&root).arg(".");
        run(tar).success();
        self.docker(&["import", archive.to_str().expect("UTF-8"), IMAGE]);
    }

    /// Runs Docker's client, whatever comes of it.
    #[track_caller]
    pub fn try_docker(&self, args: &[&str]) -> Output {
        let mut command = Command::new(unpacked("usr/bin/docker"));
        command.env("DOCKER_CONFIG", &self.folder).env("DOCKER_HOST", socket(&self.folder));
        command.args(args);
        run(command)
    }

    /// Runs Docker's client to its success.
    #[track_caller]
    pub fn docker(&self, args: &[&str]) -> Output {
        let output = self.try_docker(args);
        output.success();
        output
    }

    /// Starts a container of that name, with these options of `docker run`, which runs this.
    #[track_caller]
    pub fn run(&self, name: &str, options: &[&str], program: &[&str]) {
        let folder = format!("{}:/folder", self.folder.display());
        let volumes = ["--volume", "/usr:/usr:ro", "--volume", &folder];
        let start = ["run", "--detach", "--name", name];
        self.docker(&[&start, &volumes, options, &[IMAGE], program].concat());
    }

    /// Ends all processes of a container, and starts it again.
    #[track_caller]
    pub fn restart(&self, name: &str) {
        self.docker(&["restart", "--time", "0", name]);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Process 1 ends with it, and with that all others.
        self.daemon = None;
        let mut remove = Command::new("unshare");
        remove.args(["--mount", "sh", "-ec", GROUPS, "sh", &self.group]);
        if Background::start(remove).wait(EVENT).is_none_or(|output| output.status != 0) {
            eprintln!("the control group {} is still there", self.group);
        }
    }
}

fn unpacked(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/programs").join(path)
}

fn socket(folder: &Path) -> String {
    format!("unix://{}", folder.join("docker.sock").display())
}

#[track_caller]
fn run(command: Command) -> Output {
    let name = format!("{command:?}");
    Background::start(command).wait(EVENT).unwrap_or_else(|| panic!("{name} does not end"))
}
