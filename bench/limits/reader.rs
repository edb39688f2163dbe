//! A consumer that does nothing with what it reads: how fast a topic can be read at all.

use anyhow::{Result, bail};

use super::raw::{Client, Fetch};
use crate::{clock, cluster::Cluster};

/// Seconds to read a topic from its beginning to its end, read_committed.
pub(crate) fn read_all(bootstrap: &str, topic: &str, partitions: i32) -> Result<f64> {
    let ends = Cluster::connect(bootstrap)?.ends(topic)?;
    let mut left = ends.iter().filter(|ends| ends.end > 0).count();
    let consumer = Client::consumer(bootstrap, "bench-reader", topic, partitions)?;
    let mut fetch = Fetch::with_capacity(10_000);
    let began = clock::now();
    let mut heard = began;
    let mut done = vec![false; ends.len()];
    while left > 0 {
        consumer.fetch(&mut fetch, 50);
        for record in fetch.records() {
            let record = record?;
            heard = clock::now();
            let partition = usize::try_from(record.partition)?;
            let (Some(ends), Some(done)) = (ends.get(partition), done.get_mut(partition)) else {
                bail!("a partition too many");
            };
            // The last offsets are the commit's marker and, before it, the epoch's own.
            if !*done && record.offset >= ends.last_stable - 2 {
                *done = true;
                left -= 1;
            }
        }
        if heard.elapsed().as_secs() > 20 {
            bail!("{topic}: {left} partitions do not come to their end");
        }
    }
    Ok(began.elapsed().as_secs_f64())
}
