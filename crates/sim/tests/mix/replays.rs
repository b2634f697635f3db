//! Links deliver packets twice: each node processes a packet once.

use betanet_bar::Method;

use super::{CALM, World};

#[test]
fn relays_and_the_gateway_refuse_each_packet_that_comes_again() {
    let mut world = World::new(CALM);
    world.repeats = true;
    world.ask(Method::Put, &[3; 50_000]);
    world.until_end();
    assert_eq!(world.status(), Some(201));
    // Those that are still on their way arrive.
    world.run(5);
    let (twice, refused) = world.repeated;
    assert!(twice > 100, "{twice}");
    assert_eq!(refused, twice, "the second of each is refused");
    let strays = world.asker.get().stats().strays;
    assert_eq!(strays, 0, "the client gets nothing twice");
}
