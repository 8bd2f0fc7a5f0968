//! The house's own tool: `cargo xtask demo | test | bench | build | layers | tidy | lab`.

mod bench;
mod build;
mod demo;
mod lab;
mod layers;
mod oci_image;
mod run;
mod test;
mod tidy;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo               set up, build, and play the walk-through in a private host
  test [--full]      set up, then everything that CI runs; --full: with many random rounds
  bench [--quick]    measure beside the real Docker; `--only NAME`: some of it;
                     `bench runtime`: lighter-runc beside crun and runc;
                     `bench containerd`: lighter-containerd beside containerd 2.1
  build              all programs, as they are shipped, into target/dist
  lab                only the set-up: packages, peers, images
  layers             check the edges between crates
  tidy               check the habits of the house
";

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bench", rest @ ..] => bench::main(rest),
        ["build"] => build::all().map(drop),
        ["demo"] => demo::main(),
        ["lab"] => lab::ensure().map(drop),
        ["layers"] => layers::check(),
        ["oci-image", rest @ ..] => oci_image::main(rest),
        ["test"] => test::main(false),
        ["test", "--full"] => test::main(true),
        ["tidy"] => tidy::check(),
        _ => bail!("{USAGE}"),
    }
}
