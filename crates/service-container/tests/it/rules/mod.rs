//! The fourteen rules a container keeps, each by its number.

mod creating;
mod ending;

struct A;
struct B;
struct C;

fn boom() {
    panic!("no more");
}

fn forever() -> std::future::Pending<()> {
    std::future::pending()
}
