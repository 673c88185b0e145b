fn main() {
    env_logger::init();
    let t = std::time::Instant::now();
    match xdpctl::datapath::program::load_filter() {
        Ok(l) => {
            println!("ok {:?}", t.elapsed());
            for p in aya::programs::loaded_programs() {
                let p = p.unwrap();
                println!(
                    "{:?} verified {:?} xlated {:?}",
                    p.name_as_str(),
                    p.verified_instruction_count(),
                    p.size_translated()
                );
            }
            drop(l)
        }
        Err(e) => println!("{e}"),
    }
}
