//! Medians, ranges and ratios, one line a metric.

use crate::load::{Measured, Workload};

/// The samples of one client in one workload.
#[derive(Debug)]
pub(crate) struct Row {
    client: &'static str,
    samples: Vec<Measured>,
    cpu: Vec<f64>,
}

impl Row {
    pub(crate) const fn new(client: &'static str) -> Self {
        Self { client, samples: Vec::new(), cpu: Vec::new() }
    }

    /// One repetition, and the CPU seconds this process spent on it.
    pub(crate) fn add(&mut self, measured: Measured, cpu: f64) {
        self.samples.push(measured);
        self.cpu.push(cpu);
    }

    fn metric(&self, index: usize) -> Option<Spread> {
        Spread::of(self.samples.iter().filter_map(|sample| sample.get(index).copied()).collect())
    }
}

/// Median and range.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get(values.len().saturating_sub(1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min: *values.first()?, max: *values.last()? })
    }
}

/// CPU time of all threads of a process, this one if none is given, so far, in seconds, to the hundredth; 0 where the
/// system does not tell.
pub(crate) fn cpu_seconds(process: Option<u32>) -> f64 {
    let process = process.map_or_else(|| "self".to_owned(), |id| id.to_string());
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything. Behind it, utime and stime are the 12th and 13th fields, in
    // hundredths of a second.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

pub(crate) fn heading() {
    println!(
        "median (min-max); x = ours / plain and kept / ours, of the medians; cpu = CPU seconds a repetition, of the side that is compared"
    );
    println!("{:<48} {:<6} {:>26} {:>8} {:>8}", "what", "whose", "", "x", "cpu");
}

/// Prints the rows of one workload against one server.
pub(crate) fn rows(workload: Workload, target: &str, rows: &[Row]) {
    for (index, unit) in workload.metrics().iter().enumerate() {
        let of = |client| rows.iter().find(|row| row.client == client).and_then(|row| row.metric(index));
        for row in rows {
            let Some(spread) = row.metric(index) else { continue };
            let reference = match row.client {
                "ours" => of("plain"),
                "kept" => of("ours"),
                _ => None,
            };
            let ratio = reference.map(|reference| spread.median / reference.median);
            let cpu = Spread::of(row.cpu.clone()).filter(|_| row.client != "ssh");
            println!(
                "{:<48} {:<6} {:>26} {:>8} {:>8}",
                format!("{}, {target}, {unit}", workload.name()),
                row.client,
                cell(spread),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                cpu.map_or_else(String::new, |cpu| format!("{:.2}", cpu.median)),
            );
        }
    }
}

fn cell(spread: Spread) -> String {
    let places = if spread.median < 100.0 { 1 } else { 0 };
    format!("{:.places$} ({:.places$}-{:.places$})", spread.median, spread.min, spread.max)
}
