//! The testbed: all programs loaded and in their places, and traffic sent through them.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aya::maps::{HashMap, Map};
use aya::programs::{ProgramError, TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use xdp_common::capacity::LIMIT_SLOTS;
use xdp_common::capture::Settings;
use xdp_common::image::flag;
use xdp_common::maps::{self, COUNTER_PAGE};
use xdp_common::packet::LinkType;
use xdp_common::stages::Needs;
use xdp_common::stats::counter::{Counter, CounterId, Matrix};
use xdp_common::stats::per_cpu::PerCpu;
use xdp_common::stats::verdict::{Reason, Verdict};
use xdpctl::config::prefix::IpPrefix;
use xdpctl::datapath::attached::capture::{Capture, Hooked};
use xdpctl::datapath::maps::dynamic::{Order, Store, bypass};
use xdpctl::datapath::maps::handles::{Maps, create};
use xdpctl::datapath::maps::{image, limits, states};
use xdpctl::datapath::program::load::{self, Loaded};
use xdpctl::datapath::sys::bpf;
use xdpctl::image::{Image, services as served};
use xdpctl::views::entries::Kind;

use crate::Result;
use crate::balancer;
use crate::case::Beside;
use crate::clock::Clock;
use crate::lab::{GUEST, InterfaceCounters, Lab, attach, index};
use crate::prototype::{Block, Leaf, Structure};
use crate::services::BACKENDS;
use crate::sockets::Sockets;
use crate::structure::{BLOCKS, DESCRIPTORS, LEAVES};
use crate::traffic::{Control, Traffic};

/// Object files must be aligned like the structures in them.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static PROGRAMS: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/bench.bpf")));

/// Frames that the kernel takes from the generator before it hands them to the device: as many as a
/// device's driver takes in one go.
const BATCH: u32 = 64;
/// How long frames may be on their way when a run is over.
const ARRIVAL_TIMEOUT: Duration = Duration::from_millis(200);
/// The slot of the filter's map of redirect targets that rules of a benchmark use.
pub const REDIRECT_SLOT: u32 = 0;
/// The interface that it leads to.
pub const REDIRECT_TARGET: &str = "out0";

/// The bare programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    Drop,
    Pass,
    Redirect,
    Tx,
}

impl Floor {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Pass => "pass",
            Self::Redirect => "redirect",
            Self::Tx => "tx",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Drop => "bench_drop",
            Self::Pass => "bench_pass",
            Self::Redirect => "bench_redirect",
            Self::Tx => "bench_tx",
        }
    }
}

/// Which of the devices traffic is sent to; the number is the generator's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Filter = 0,
    Floor = 1,
    /// Whatever the benchmark puts there from outside, such as a command that it measures.
    Guest = 2,
}

impl Device {
    const fn interface(self) -> &'static str {
        match self {
            Self::Filter => "dut0",
            Self::Floor => "dut1",
            Self::Guest => GUEST,
        }
    }
}

/// The result of one run.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What a frame cost, the generator's part included.
    pub nanoseconds: f64,
    pub sent: u64,
    pub arrived: u64,
}

pub struct Testbed {
    pub lab: Arc<Lab>,
    generator: Generator,
    filter: Loaded,
    links: [OwnedFd; 2],
    _behind: OwnedFd,
    /// What is sent back is dropped where it came from: without a program there, a veth loses it, at
    /// another cost.
    _before: [OwnedFd; 2],
    pub clock: Clock,
    /// At run time.
    blocked: Vec<IpPrefix>,
    capture: Option<Capture>,
    sockets: Option<Sockets>,
}

/// A generator, with traffic of its own, and the bare programs.
pub struct Generator {
    lab: Arc<Lab>,
    programs: Ebpf,
    counters: InterfaceCounters,
    control: Control,
}

impl Testbed {
    /// Sets everything up. The filter has no ruleset yet.
    pub fn set_up(clock: Clock) -> Result<Self> {
        let lab = Arc::new(Lab::create()?);
        let generator = Generator::new(lab.clone())?;
        let programs = &generator.programs;
        let filter = load::load_filter(LinkType::Ethernet, Needs::ALL)?;
        provide_counters(&filter)?;

        let floor = xdp(programs, Floor::Drop.program())?;
        let links = lab.device.enter(|| {
            let target = index(REDIRECT_TARGET)?;
            let targets = filter.map(maps::Map::REDIRECTS)?;
            bpf::update(&targets, REDIRECT_SLOT, &device_value(target))?;
            bpf::update(map(programs, "FLOOR_TARGET")?, 0, &device_value(target))?;
            let filter = attach(filter.program()?, Device::Filter.interface())?;
            Ok([filter, attach(floor, Device::Floor.interface())?])
        })?;
        let behind = lab.attach_behind(floor)?;
        let before =
            lab.generator.enter(|| Ok([attach(floor, "gen0")?, attach(floor, "gen1")?]))?;
        let blocked = Vec::new();
        let (capture, sockets) = (None, None);
        Ok(Self {
            lab,
            generator,
            filter,
            links,
            _behind: behind,
            _before: before,
            clock,
            blocked,
            capture,
            sockets,
        })
    }

    /// Another generator, for another thread.
    pub fn second_generator(&self) -> Result<Generator> {
        Generator::new(self.lab.clone())
    }

    /// Puts the filter on the guest's device as well, as long as what is returned lives.
    pub fn attach_filter_to_guest(&self) -> Result<OwnedFd> {
        self.lab.device.enter(|| attach(self.filter.program()?, GUEST))
    }

    /// Drops what comes back from the guest's device, as long as what is returned lives.
    pub fn drop_before_guest(&self) -> Result<OwnedFd> {
        let floor = xdp(&self.generator.programs, Floor::Drop.program())?;
        self.lab.generator.enter(|| attach(floor, "gen2"))
    }

    /// Puts a ruleset's image in force, on the filter's device.
    pub fn put_in_force(&self, image: &Image) -> Result<()> {
        let ruleset = self.filter.map(maps::Map::RULESET)?;
        let extents = image::create(&ruleset, image.blocks())?;
        let more = image.header().more_extents;
        self.provide_for_services(image)?;
        if image.header().has(flag::LIMITS) {
            limits::provide(&Maps::of_loaded(&self.filter)?)?;
        }
        image::activate(&ruleset, &extents, more)?;
        image::release(&ruleset)?;
        bpf::update_link(&self.links[Device::Filter as usize], self.filter.program()?)?;
        Ok(())
    }

    pub fn maps(&self) -> Result<Maps> {
        Ok(Maps::of_loaded(&self.filter)?)
    }

    /// Words of state and room for connections, with nothing in them.
    fn provide_for_services(&self, image: &Image) -> Result<()> {
        let lines = image.header().connection_lines;
        let counters = served::fronts(image).into_iter().flat_map(|front| {
            let backends = served::backends(image, &front).into_iter().map(|it| it.counter);
            backends.chain([front.counter, front.spares]).collect::<Vec<_>>()
        });
        let fresh: Vec<u32> = counters.collect();
        let Some(&last) = fresh.iter().max() else { return Ok(()) };
        let needs = states::Beside { last, lines, fresh, changed: Vec::new() };
        states::provide(&Maps::of_loaded(&self.filter)?, image, &needs, false)?;
        Ok(())
    }

    /// Blocks prefixes at run time, those of `ended` only until this returns, and unblocks those
    /// that an earlier call blocked.
    pub fn block(&mut self, prefixes: &[IpPrefix], ended: &[IpPrefix]) -> Result<()> {
        let maps = Maps::of_loaded(&self.filter)?;
        // The directory is for notes, and there are none.
        let mut store = Store::on(&maps, std::env::temp_dir())?;
        store.remove(&self.blocked, None)?;
        let order = |life| Order {
            owner: "bench".to_owned(),
            kind: Kind::Block,
            life,
            note: None,
            created: SystemTime::now(),
        };
        if !prefixes.is_empty() {
            store.put(prefixes, &order(None))?;
        }
        if !ended.is_empty() {
            store.put(ended, &order(Some(Duration::from_nanos(1))))?;
        }
        self.blocked = [prefixes, ended].concat();
        Ok(())
    }

    /// Puts something in force beside the ruleset, in place of what was there before.
    pub fn put_beside(&mut self, beside: Beside) -> Result<()> {
        let maps = Maps::of_loaded(&self.filter)?;
        bypass::set(&maps, beside == Beside::Bypass)?;
        self.capture = None;
        self.sockets = None;
        match beside {
            Beside::Nothing | Beside::Bypass => {}
            Beside::Routes(networks) => self.lab.route(networks)?,
            Beside::Sockets => {
                self.sockets = Some(self.lab.device.enter(|| Sockets::open("dut0"))?);
            }
            Beside::Trial => {
                // The same image comes again, as one on trial.
                let id = image::slot_id(&maps.ruleset, 0)?.ok_or("no ruleset is in force")?;
                let first = bpf::map_by_id(id)?;
                image::limit(&maps.ruleset, &[first], Duration::from_secs(3600))?;
            }
            Beside::Capture(sample) => {
                let (verdicts, reasons) = (Settings::ALL, Settings::ALL);
                let counter = CounterId::NONE;
                let settings = Settings { snaplen: 96, sample, verdicts, reasons, counter };
                let mut capture = Capture::new(&settings)?;
                let id = bpf::program_info(self.filter.program()?)?.id;
                if capture.hook_to(&maps, id)? != Hooked::There {
                    return Err("the capture found no place".into());
                }
                self.capture = Some(capture);
            }
        }
        Ok(())
    }

    /// Puts a bare program on the floor's device.
    pub fn set_floor(&self, floor: Floor) -> Result<()> {
        let program = xdp(&self.generator.programs, floor.program())?;
        bpf::update_link(&self.links[Device::Floor as usize], program)?;
        Ok(())
    }

    /// Puts a bare program on the filter's device in its place, until the next ruleset.
    pub fn replace_filter(&self, floor: Floor) -> Result<()> {
        let program = xdp(&self.generator.programs, floor.program())?;
        bpf::update_link(&self.links[Device::Filter as usize], program)?;
        Ok(())
    }

    /// Gives the bare prototype of a list its list.
    pub fn fill_prototype(&self, structure: &Structure) -> Result<()> {
        let programs = &self.generator.programs;
        let blocks = structure.blocks.as_flattened().iter().flat_map(|word| word.to_ne_bytes());
        fill(map(programs, "PROTOTYPE_BLOCKS")?, size_of::<[Block; BLOCKS]>(), blocks)?;
        let descriptors = structure.descriptors.iter().flat_map(|word| word.to_ne_bytes());
        fill(
            map(programs, "PROTOTYPE_DESCRIPTORS")?,
            size_of::<[u32; DESCRIPTORS]>(),
            descriptors,
        )?;
        let leaves = structure.leaves.as_flattened().iter().flat_map(|word| word.to_ne_bytes());
        fill(map(programs, "PROTOTYPE_LEAVES")?, size_of::<[Leaf; LEAVES]>(), leaves)
    }

    /// Gives the bare prototype of a limit its memory, with nothing in it.
    pub fn fill_limit_prototype(&self) -> Result<()> {
        let slots = map(&self.generator.programs, "LIMIT_MEMORY")?;
        for slot in 0..LIMIT_SLOTS - 1 {
            let memory = create(maps::MEMORY, "bench_limit")?;
            bpf::update(slots, slot, &memory.as_raw_fd().to_ne_bytes())?;
        }
        Ok(())
    }

    /// Puts a bare prototype on the filter's device in its place, until the next ruleset.
    pub fn put_prototype(&self, name: &str) -> Result<()> {
        let program = xdp(&self.generator.programs, name)?;
        bpf::update_link(&self.links[Device::Filter as usize], program)?;
        Ok(())
    }

    /// For how many packets the prototypes found nothing, and for how many they did.
    pub fn prototype_counted(&self) -> Result<[u64; 2]> {
        let mut counted = bpf::PerCpuValues::zeroed(16, 1)?;
        counted.lookup(map(&self.generator.programs, "PROTOTYPE_COUNTED")?, 0)?;
        let mut sums = [0; 2];
        for cpu in counted.shares() {
            for (sum, word) in sums.iter_mut().zip(cpu.chunks_exact(8)) {
                *sum += u64::from_ne_bytes(word.try_into().expect("eight bytes"));
            }
        }
        Ok(sums)
    }

    /// Puts the bare load balancer there, likewise.
    pub fn put_balancer(&mut self, contents: &balancer::Contents) -> Result<()> {
        let programs = &mut self.generator.programs;
        let services = programs.map_mut("BALANCER_SERVICES").ok_or("no services in the object")?;
        let mut services: HashMap<_, [u8; 8], u32> = HashMap::try_from(services)?;
        services.insert(contents.service, 1, 0)?;
        let (places, backends) = (&contents.places, &contents.backends);
        fill(map(programs, "BALANCER_PLACES")?, places.len(), places.iter().copied())?;
        fill(map(programs, "BALANCER_BACKENDS")?, 16 << 7, backends.iter().copied())?;
        let program = xdp(programs, "bench_balancer")?;
        bpf::update_link(&self.links[Device::Filter as usize], program)?;
        Ok(())
    }

    /// How many packets it has sent to backends.
    pub fn balancer_counted(&self) -> Result<u64> {
        let counted = map(&self.generator.programs, "BALANCER_COUNTED")?;
        let mut sum = 0;
        for backend in 0..BACKENDS {
            let mut counters = bpf::PerCpuValues::zeroed(16, 1)?;
            counters.lookup(counted, backend)?;
            let packets = |cpu: &[u8]| u64::from_ne_bytes(cpu[..8].try_into().expect("a word"));
            sum += counters.shares().map(packets).sum::<u64>();
        }
        Ok(sum)
    }

    /// Gives the generator its traffic.
    pub fn load_traffic(&mut self, traffic: &Traffic) -> Result<()> {
        self.generator.load_traffic(traffic)
    }

    /// Sends frames to a device, and measures until all of them are judged.
    pub fn run(&mut self, device: Device, frame: &[u8], frames: u32) -> Result<Run> {
        self.generator.run(&self.clock, device, frame, frames)
    }

    /// What the filter has counted, over all processors.
    pub fn verdicts(&self) -> Result<Verdicts> {
        let mut counters = bpf::PerCpuValues::zeroed(size_of::<PerCpu>(), 1)?;
        counters.lookup(&self.filter.map(maps::Map::COUNTERS)?, 0)?;
        let mut packets = vec![0; size_of::<Matrix>() / size_of::<Counter>()];
        for cpu in counters.shares() {
            let matrix = &cpu[std::mem::offset_of!(PerCpu, matrix)..];
            for (sum, cell) in packets.iter_mut().zip(matrix.chunks_exact(size_of::<Counter>())) {
                *sum += u64::from_ne_bytes(cell[..8].try_into().expect("the first eight bytes"));
            }
        }
        Ok(Verdicts(packets))
    }
}

impl Generator {
    fn new(lab: Arc<Lab>) -> Result<Self> {
        let mut programs = EbpfLoader::new().load(&PROGRAMS.0)?;
        for (_, program) in programs.programs_mut() {
            let program: &mut Xdp = program.try_into()?;
            program.load()?;
        }
        lab.generator.enter(|| {
            let devices = map(&programs, "DEVICES")?;
            bpf::update(devices, Device::Filter as u32, &device_value(index("gen0")?))?;
            bpf::update(devices, Device::Floor as u32, &device_value(index("gen1")?))?;
            bpf::update(devices, Device::Guest as u32, &device_value(index("gen2")?))?;
            Ok(())
        })?;
        let counters = lab.device.enter(InterfaceCounters::open)?;
        Ok(Self { lab, programs, counters, control: Control::default() })
    }

    /// Gives the generator its traffic.
    pub fn load_traffic(&mut self, traffic: &Traffic) -> Result<()> {
        let lines = map(&self.programs, "TRAFFIC")?;
        for (number, line) in (0..).zip(&traffic.lines) {
            let mut bytes = [0; size_of::<crate::traffic::Line>()];
            for (place, word) in bytes.chunks_exact_mut(8).zip(line) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            bpf::update(lines, number, &bytes)?;
        }
        let header_sum = traffic.header_sum();
        let Traffic { kind, vary, .. } = *traffic;
        self.control = Control { kind, header_sum, vary, ..Control::default() };
        Ok(())
    }

    /// Sends frames to a device, and measures until all of them are judged.
    pub fn run(&mut self, clock: &Clock, device: Device, frame: &[u8], frames: u32) -> Result<Run> {
        let before_sending = self.control.generated;
        self.control.device = device as u32;
        bpf::update(map(&self.programs, "CONTROL")?, 0, &control_bytes(self.control))?;
        let received = self.counters.received(device.interface())?;

        let options = TestRunOptions {
            data_in: Some(frame),
            repeat: frames,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        let generator = self.programs.program("bench_generate").ok_or("no generator")?;
        let generator: &Xdp = generator.try_into()?;
        // To the kernel, the frames come from an interface of the namespace that the thread is in.
        let (start, mut end) = self.lab.generator.enter(|| {
            let start = clock.now()?;
            match generator.test_run(options) {
                // A signal ends a run early, and those that were sent until then count.
                Err(ProgramError::SyscallError(error))
                    if error.io_error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            Ok((start, clock.now()?))
        })?;

        let mut bytes = control_bytes(Control::default());
        bpf::lookup(map(&self.programs, "CONTROL")?, 0, &mut bytes)?;
        self.control.generated =
            u64::from_ne_bytes(bytes[..8].try_into().expect("the first eight bytes"));
        let sent = self.control.generated - before_sending;

        // The last frames may be waiting for ksoftirqd, whose time counts too.
        let deadline = Instant::now() + ARRIVAL_TIMEOUT;
        let mut arrived = self.counters.received(device.interface())? - received;
        let waits = arrived < sent;
        while arrived < sent && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            arrived = self.counters.received(device.interface())? - received;
        }
        if waits {
            end = clock.now()?;
        }
        if arrived == 0 {
            return Err(format!("none of {sent} frames arrived at {}", device.interface()).into());
        }
        let nanoseconds = (end - start).as_nanos() as f64 / arrived as f64;
        Ok(Run { nanoseconds, sent, arrived })
    }
}

/// Packets by verdict and reason.
pub struct Verdicts(Vec<u64>);

impl Verdicts {
    /// Verdicts that were counted since `before`, with reason and packets.
    pub fn since<'a>(
        &'a self,
        before: &'a Self,
    ) -> impl Iterator<Item = (Verdict, Reason, u64)> + 'a {
        let cells = Verdict::ALL
            .iter()
            .flat_map(|&verdict| Reason::ALL.iter().map(move |&reason| (verdict, reason)));
        cells
            .map(|(verdict, reason)| {
                let cell = Matrix::cell(verdict, reason);
                (verdict, reason, self.0[cell] - before.0[cell])
            })
            .filter(|(.., packets)| *packets > 0)
    }
}

/// Pages for the counters of as many rules as a benchmark has.
fn provide_counters(filter: &Loaded) -> Result<()> {
    const PAGES: u32 = 1_000;
    let pages = (0..PAGES)
        .map(|_| create(COUNTER_PAGE, "bench_page"))
        .collect::<std::io::Result<Vec<OwnedFd>>>()?;
    let places = filter.map(maps::Map::RULE_COUNTERS)?;
    let numbers: Vec<u32> = (0..PAGES).collect();
    let descriptors: Vec<u32> = pages.iter().map(|page| page.as_raw_fd() as u32).collect();
    bpf::update_batch(&places, &numbers, &descriptors)?;
    Ok(())
}

fn xdp<'a>(programs: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>> {
    let program: &Xdp = programs.program(name).ok_or("a program is missing")?.try_into()?;
    Ok(program.fd()?.as_fd())
}

fn map<'a>(programs: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>> {
    match programs.map(name) {
        Some(
            Map::Array(data) | Map::ArrayOfMaps(data) | Map::DevMap(data) | Map::PerCpuArray(data),
        ) => Ok(data.fd().as_fd()),
        _ => Err(format!("no map {name} in the object").into()),
    }
}

/// Writes the only value of an array: these bytes, and zeros behind them.
fn fill(map: BorrowedFd<'_>, size: usize, bytes: impl Iterator<Item = u8>) -> Result<()> {
    let mut value: Vec<u8> = bytes.collect();
    value.resize(size, 0);
    Ok(bpf::update(map, 0, &value)?)
}

/// `struct bpf_devmap_val` without a program.
fn device_value(index: u32) -> [u8; 8] {
    u64::from(index).to_le_bytes()
}

fn control_bytes(control: Control) -> [u8; size_of::<Control>()] {
    let mut bytes = [0; size_of::<Control>()];
    bytes[0..8].copy_from_slice(&control.generated.to_ne_bytes());
    bytes[8..12].copy_from_slice(&control.kind.to_ne_bytes());
    bytes[12..16].copy_from_slice(&control.device.to_ne_bytes());
    bytes[16..20].copy_from_slice(&control.header_sum.to_ne_bytes());
    bytes[20..24].copy_from_slice(&control.vary.to_ne_bytes());
    bytes
}
