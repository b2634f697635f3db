//! Faults of the connection and of the server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use betanet_journal::testkit::{lead, read_all, record, records};
use betanet_journal::{Batch, Error, Journal as _, Lead, verify};
use betanet_journal_postgres::testkit::{Cluster, Proxy};
use betanet_journal_postgres::{PostgresJournal, Settings};
use tokio_postgres::NoTls;

fn block<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work)
}

async fn open(url: &str, name: &str) -> PostgresJournal {
    let settings = Settings::new(url).unwrap().with_leader(name);
    PostgresJournal::open(settings).await.unwrap()
}

async fn execute(cluster: &Cluster, sql: &str) {
    let (client, connection) = tokio_postgres::connect(&cluster.url(), NoTls)
        .await
        .unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    driver.abort();
}

async fn end_lease(cluster: &Cluster) {
    let sql = "UPDATE betanet.head SET lease_end = clock_timestamp() - interval '1 second'";
    execute(cluster, sql).await;
}

/// Whether the journal holds the records 1 to `last`, each once.
async fn holds(journal: &PostgresJournal, last: u64) {
    let all = read_all(journal, 0).await.unwrap();
    assert_eq!(all.len() as u64, last);
    for (n, entry) in (1..).zip(&all) {
        assert_eq!((entry.index, &entry.record), (n, &record(n)));
    }
}

#[test]
fn an_append_whose_answer_is_lost_stands_once() {
    let cluster = Cluster::start();
    block(async {
        let proxy = Proxy::start(&cluster.socket()).await;
        let journal = open(&proxy.url(), "a").await;
        lead(&journal).await;
        journal.append(1, records([1])).await.unwrap();
        for n in (2..40).step_by(3) {
            // This prepares the statement on the connection, so that the next request is the append alone.
            assert_eq!(journal.append(1, records([n])).await.unwrap(), n);
            proxy.lose_answers();
            // The server commits, and its answer never comes. The leader asks, once it can.
            let append = journal.append(1, records([n + 1, n + 2]));
            let restore = async {
                committed(&cluster, n + 2).await;
                proxy.pass();
            };
            let (done, ()) = tokio::join!(append, restore);
            assert_eq!(done.unwrap(), n + 2);
            // The connection that reads was cut too.
            holds(&journal, n + 2).await;
        }
    });
}

/// Waits until the server has committed this index.
async fn committed(cluster: &Cluster, index: u64) {
    let other = open(&cluster.url(), "observer").await;
    let wait = tokio::time::timeout(Duration::from_secs(60), other.wait(index - 1));
    assert_eq!(wait.await.expect("not committed").unwrap(), index);
}

#[test]
fn an_append_that_arrives_late_changes_nothing() {
    let cluster = Cluster::start();
    block(async {
        let proxy = Proxy::start(&cluster.socket()).await;
        let journal = Arc::new(open(&proxy.url(), "a").await);
        lead(&*journal).await;
        journal.append(1, records([1])).await.unwrap();
        // The request is held back and its client cut off, again and again.
        proxy.hold_requests();
        let appending = Arc::clone(&journal);
        let append = tokio::spawn(async move { appending.append(1, records([2])).await });
        proxy.holds(4).await;
        assert!(!append.is_finished());
        // All requests arrive at once. Only one counts.
        proxy.pass();
        assert_eq!(append.await.unwrap().unwrap(), 2);
        assert_eq!(journal.append(1, records([3])).await.unwrap(), 3);
        holds(&journal, 3).await;
    });
}

#[test]
fn a_leader_that_is_cut_off_is_deposed_and_nothing_of_it_counts() {
    let cluster = Cluster::start();
    block(async {
        let proxy = Proxy::start(&cluster.socket()).await;
        let short = Settings::new(&proxy.url())
            .unwrap()
            .with_lease(Duration::from_millis(600));
        let old = PostgresJournal::open(short.with_leader("old"))
            .await
            .unwrap();
        let new = open(&cluster.url(), "new").await;
        lead(&old).await;
        assert_eq!(old.append(1, records([1])).await.unwrap(), 1);
        proxy.close();
        // It cannot know whether its append stands, and accepts nothing more in this epoch.
        let lost = old.append(1, records([1000])).await;
        assert!(matches!(lost, Err(Error::Unknown { .. })), "{lost:?}");
        let again = old.append(1, records([1001])).await;
        assert!(matches!(again, Err(Error::Unknown { .. })), "{again:?}");
        // The lease ends by the database's clock at about the same time.
        let term = loop {
            if let Lead::Leads(term) = new.lead().await.unwrap() {
                break term;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        assert_eq!((term.epoch, term.last), (2, 1));
        assert_eq!(new.append(2, records([2])).await.unwrap(), 2);
        proxy.pass();
        let late = old.append(1, records([1002])).await;
        assert!(late.is_err());
        // It follows.
        assert_eq!(old.wait(1).await.unwrap(), 2);
        holds(&old, 2).await;
        assert!(matches!(old.lead().await.unwrap(), Lead::Held(held) if &*held.name == "new"));
    });
}

#[test]
fn a_deposed_leader_learns_whether_its_last_append_stands() {
    let cluster = Cluster::start();
    block(async {
        let proxy = Proxy::start(&cluster.socket()).await;
        let old = Arc::new(open(&proxy.url(), "old").await);
        let new = open(&cluster.url(), "new").await;
        for (round, stands) in [(0, true), (1, false)] {
            end_lease(&cluster).await;
            let term = lead(&*old).await;
            let next = term.last + 2;
            let first = old.append(term.epoch, records([next - 1])).await;
            assert_eq!(first.unwrap(), next - 1);
            if stands {
                proxy.lose_answers();
            } else {
                proxy.close();
            }
            let appending = Arc::clone(&old);
            let append = async move { appending.append(term.epoch, records([next])).await };
            let append = tokio::spawn(append);
            if stands {
                committed(&cluster, next).await;
            }
            end_lease(&cluster).await;
            assert_eq!(lead(&new).await.epoch, term.epoch + 1);
            proxy.pass();
            match append.await.unwrap() {
                Ok(last) => assert!(stands && last == next, "{round}"),
                Err(Error::EpochOver { epoch, .. }) => assert!(!stands && epoch == term.epoch),
                Err(e) => panic!("{e:?}"),
            }
            holds(&new, next - u64::from(!stands)).await;
        }
    });
}

#[test]
fn a_server_that_restarts_under_load_loses_nothing() {
    let cluster = Cluster::start();
    block(async {
        // A machine under load may take longer than a lease to restart the server.
        let long = Settings::new(&cluster.url())
            .unwrap()
            .with_lease(Duration::from_secs(300));
        let journal = Arc::new(PostgresJournal::open(long).await.unwrap());
        lead(&*journal).await;
        let appending = Arc::clone(&journal);
        let (count, mut counted) = tokio::sync::watch::channel(0);
        let load = tokio::spawn(async move {
            let mut n = 0;
            while n < 400 {
                let last = appending.append(1, records([n + 1])).await.unwrap();
                n += 1;
                assert_eq!(last, n);
                count.send_replace(n);
            }
        });
        for (n, mode) in [
            (60, "fast"),
            (130, "immediate"),
            (200, "immediate"),
            (270, "fast"),
        ] {
            counted.wait_for(|c| *c >= n).await.unwrap();
            tokio::task::block_in_place(|| {
                cluster.stop(mode);
                cluster.launch();
            });
        }
        load.await.unwrap();
        holds(&journal, 400).await;
        assert_eq!(verify(&*journal).await.unwrap().records, 400);
    });
}

#[test]
fn of_many_coordinators_one_leads_and_the_others_take_over() {
    let cluster = Cluster::start();
    block(async {
        let mut all = Vec::new();
        for n in 0..4 {
            all.push(open(&cluster.url(), &format!("c{n}")).await);
        }
        for epoch in 1..20 {
            // All want to lead at once, and one does.
            let attempts = all.iter().map(PostgresJournal::lead_now);
            let led = futures_util::future::join_all(attempts).await;
            let leaders: Vec<usize> = (0..4).filter(|n| led[*n]).collect();
            let [leader] = leaders[..] else {
                panic!("epoch {epoch} has the leaders {leaders:?}");
            };
            let append = |n: usize| all[n].append(epoch, records([epoch]));
            let results = futures_util::future::join_all((0..4).map(append)).await;
            for (n, done) in results.into_iter().enumerate() {
                assert_eq!(done.is_ok(), n == leader, "{n} of epoch {epoch}");
            }
            for follower in &all {
                assert_eq!(follower.wait(epoch - 1).await.unwrap(), epoch);
            }
            end_lease(&cluster).await;
        }
        holds(&all[0], 19).await;
    });
}

trait LeadNow {
    fn lead_now(&self) -> impl Future<Output = bool>;
}

impl LeadNow for PostgresJournal {
    async fn lead_now(&self) -> bool {
        use betanet_journal::Journal as _;
        matches!(self.lead().await.unwrap(), Lead::Leads(_))
    }
}

#[test]
fn a_stepped_clock_delays_no_takeover_for_long_and_deposes_no_leader() {
    let cluster = Cluster::start();
    block(async {
        let short = |name: &str| {
            let settings = Settings::new(&cluster.url()).unwrap().with_leader(name);
            settings.with_lease(Duration::from_millis(500))
        };
        let old = PostgresJournal::open(short("old")).await.unwrap();
        let new = PostgresJournal::open(short("new")).await.unwrap();
        lead(&old).await;
        // A lease that ends in an hour is what a clock stepped back by an hour shows.
        let hour = "UPDATE betanet.head SET lease_end = lease_end + interval '1 hour'";
        execute(&cluster, hour).await;
        let Lead::Held(held) = new.lead().await.unwrap() else {
            panic!("two leaders");
        };
        assert!(held.ends_in_ms <= 500);
        // While the leader renews, nobody takes over.
        for _ in 0..8 {
            assert_eq!(old.append(1, Vec::new()).await.unwrap(), 0);
            execute(&cluster, hour).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(matches!(new.lead().await.unwrap(), Lead::Held(_)));
        }
        // Once it does not, the follower's own clock ends the lease.
        tokio::time::sleep(Duration::from_millis(550)).await;
        assert!(matches!(new.lead().await.unwrap(), Lead::Leads(_)));
        // A clock that is stepped forward ends the lease early: the leader goes on until another leads.
        end_lease(&cluster).await;
        assert_eq!(new.append(2, records([1])).await.unwrap(), 1);
        let over = old.append(1, records([2])).await;
        assert!(matches!(
            over,
            Err(Error::EpochOver {
                epoch: 1,
                current: 2
            })
        ));
    });
}

#[test]
fn a_failed_snapshot_leaves_the_leader_in_order() {
    let cluster = Cluster::start();
    block(async {
        let proxy = Proxy::start(&cluster.socket()).await;
        let journal = open(&proxy.url(), "a").await;
        lead(&journal).await;
        journal.append(1, records(1..=5)).await.unwrap();
        journal.save(1, 3, 0, b"state".to_vec()).await.unwrap();
        journal.finish(1, 3, 1).await.unwrap();
        // Retention is cut at its begin or its end; the next append knows the head.
        for lose in [true, false] {
            if lose {
                proxy.lose_answers();
            } else {
                proxy.close();
            }
            let retained = journal.retain(1, 1).await;
            assert!(
                matches!(retained, Err(Error::Backend { .. })),
                "{retained:?}"
            );
            proxy.pass();
            let n = if lose { 6 } else { 7 };
            assert_eq!(journal.append(1, records([n])).await.unwrap(), n);
        }
        journal.retain(1, 1).await.unwrap();
        let gone = journal.read(0, Batch::default()).await;
        assert!(matches!(gone, Err(Error::Gone { base: 3, .. })));
        assert_eq!(read_all(&journal, 3).await.unwrap().len(), 4);
    });
}

/// A small file system in memory that the cluster's user owns. It is unmounted on drop.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(cluster: &Cluster) -> Self {
        let path = cluster.folder().join("small");
        fs::create_dir(&path).unwrap();
        let owner = fs::metadata(cluster.folder()).unwrap();
        let options = format!("size=24m,mode=700,uid={},gid={}", owner.uid(), owner.gid());
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success(), "mounting a tmpfs needs root");
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_appends_and_loses_nothing() {
    let cluster = Cluster::start();
    let disk = Tmpfs::mount(&cluster);
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    block(async {
        let space = format!("CREATE TABLESPACE small LOCATION '{}'", disk.0.display());
        execute(&cluster, &space).await;
        execute(&cluster, "ALTER ROLE fog SET default_tablespace = small").await;
        let journal = open(&cluster.url(), "a").await;
        lead(&journal).await;
        let large = || betanet_journal::Record::new(record(1).kind, vec![1; 64 << 10]);
        let mut last = 0;
        let refused = loop {
            match journal.append(1, vec![large()]).await {
                Ok(index) => last = index,
                Err(e) => break e,
            }
        };
        assert!(matches!(refused, Error::DiskFull), "{refused:?}");
        assert!(last > 20, "{last}");
        // Each append of a group is refused too, and none stands.
        let many = || vec![large(); 64];
        let group = (0..4).map(|_| journal.append(1, many()));
        for done in futures_util::future::join_all(group).await {
            assert!(matches!(done, Err(Error::DiskFull)), "{done:?}");
        }
        // The lease is renewed within the head's own page.
        assert_eq!(journal.append(1, Vec::new()).await.unwrap(), last);
        assert_eq!(verify(&journal).await.unwrap().records, last);
        fs::remove_file(&ballast).unwrap();
        assert_eq!(journal.append(1, records([1])).await.unwrap(), last + 1);
        assert_eq!(verify(&journal).await.unwrap().records, last + 1);
    });
}

#[test]
fn a_schema_of_version_1_is_migrated() {
    let cluster = Cluster::start();
    block(async {
        let journal = open(&cluster.url(), "a").await;
        lead(&journal).await;
        journal.append(1, records(1..=3)).await.unwrap();
        drop(journal);
        // Version 1 had no snapshots.
        let sql = "SET search_path TO betanet; DROP TABLE snapshot; DROP TABLE part; UPDATE head SET version = 1";
        execute(&cluster, sql).await;
        end_lease(&cluster).await;
        let journal = open(&cluster.url(), "a").await;
        holds(&journal, 3).await;
        assert_eq!(lead(&journal).await.epoch, 2);
        journal.save(2, 3, 0, b"state".to_vec()).await.unwrap();
        journal.finish(2, 3, 1).await.unwrap();
        assert_eq!(journal.facts().await.unwrap().version, 2);
    });
}
