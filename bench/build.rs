//! How long the way from text to image takes, step by step and structure by structure:
//!
//!     cargo bench --package xdpctl --bench build
//!
//! Each structure is built through the public door, from a ruleset that has nothing else.

#[expect(dead_code, reason = "made for `packets`, which has more use for it")]
mod prefixes;
mod random;
#[expect(dead_code, reason = "as above")]
mod rules;
#[expect(dead_code, unused_imports, reason = "as above")]
mod traffic;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use xdpctl::config::{self, listfile};
use xdpctl::image::Image;
use xdpctl::image::metadata::Metadata;
use xdpctl::ruleset::Ruleset;

use prefixes::{Family, Prefixes};
use rules::Rules;

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const RULES: [usize; 3] = [10, 1_000, 4_096];

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(3));
    group
}

fn prefixes_of(family: Family, count: usize) -> Prefixes {
    match family {
        Family::V4 => Prefixes::blocklist_v4(count, 0x20),
        // There are 2,000 whole networks among any number of them.
        Family::V6 => Prefixes::blocklist_v6(count.max(2_000), 0x21),
    }
}

/// The ruleset of a configuration with this text and these lists.
fn load(folder: &Path, text: &str, lists: &[&str]) -> Ruleset {
    let path = write(folder, text, lists);
    config::load(&path).ruleset.expect("a configuration without mistakes")
}

fn write(folder: &Path, text: &str, lists: &[&str]) -> std::path::PathBuf {
    let mut text = text.to_owned();
    for (number, list) in lists.iter().enumerate() {
        std::fs::write(folder.join(format!("{number}.txt")), list).expect("a file to write");
        text += &format!("[[blocklist]]\nname = \"l{number}\"\nfiles = [\"{number}.txt\"]\n");
    }
    let path = folder.join("bench.toml");
    std::fs::write(&path, text).expect("a file to write");
    path
}

fn list_files(criterion: &mut Criterion) {
    let mut group = group(criterion, "scan a list file");
    for (name, family) in [("IPv4", Family::V4), ("IPv6", Family::V6)] {
        for size in SIZES {
            let text = prefixes_of(family, size).files(1).remove(0);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    let mut entries = listfile::ListEntries::default();
                    listfile::scan(black_box(text.as_bytes()), 0, &mut entries);
                    entries
                });
            });
        }
    }
    group.finish();
}

fn configurations(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = group(criterion, "read a configuration");
    for count in RULES {
        let text = Rules::mixed(Family::V4, count, 0x22).text();
        let path = write(folder.path(), &text, &[]);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("rules", count), |bencher| {
            bencher.iter(|| config::load(black_box(&path)));
        });
    }
    group.finish();
}

fn build(group: &mut BenchmarkGroup<'_, WallTime>, id: BenchmarkId, ruleset: &Ruleset) {
    let metadata = Metadata::unbound(ruleset);
    group.bench_function(id, |bencher| {
        bencher.iter(|| Image::build(black_box(ruleset), 1, &metadata).expect("an image"));
    });
}

fn images(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut group = group(criterion, "build an image");
    for (name, family) in [("IPv4 index", Family::V4), ("IPv6 index", Family::V6)] {
        for size in SIZES {
            let list = prefixes_of(family, size).files(1).remove(0);
            let ruleset = load(folder.path(), "", &[&list]);
            build(&mut group, BenchmarkId::new(name, size), &ruleset);
        }
    }
    for count in RULES {
        let mixed = load(folder.path(), &Rules::mixed(Family::V4, count, 0x23).text(), &[]);
        build(&mut group, BenchmarkId::new("mixed rules, IPv4", count), &mixed);
        let mixed = load(folder.path(), &Rules::mixed(Family::V6, count, 0x24).text(), &[]);
        build(&mut group, BenchmarkId::new("mixed rules, IPv6", count), &mixed);
        let hard = load(folder.path(), &Rules::adversarial(count, 0x25).text(), &[]);
        build(&mut group, BenchmarkId::new("adversarial rules", count), &hard);
    }
    let rules = Rules::mixed(Family::V4, 1_000, 0x26).text();
    for size in SIZES {
        let lists =
            [Family::V4, Family::V6].map(|family| prefixes_of(family, size).files(1).remove(0));
        let ruleset = load(folder.path(), &rules, &[&lists[0], &lists[1]]);
        build(&mut group, BenchmarkId::new("both indexes and 1,000 rules", size), &ruleset);
    }
    group.finish();
}

criterion_group!(benches, list_files, configurations, images);
criterion_main!(benches);
