//! Builds the client requests of Valgrind, which are macros of its C headers.

fn main() {
    println!("cargo::rerun-if-changed=src/requests.c");
    cc::Build::new().file("src/requests.c").opt_level(2).compile("requests");
}
