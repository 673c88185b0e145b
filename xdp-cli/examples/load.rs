fn main() {
    env_logger::init();
    let t = std::time::Instant::now();
    match xdpctl::datapath::program::load_filter() {
        Ok(_) => println!("ok {:?}", t.elapsed()),
        Err(e) => println!("{e}"),
    }
}
