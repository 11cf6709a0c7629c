//! Events on a terminal: a moving line for each server, a settled one for each phase that ended. What
//! a build prints shows as the last words of the moving line, and whole when the phase fails or `-v`
//! is given.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use slipway_proto::control::v1::{self as wire, event::Kind};

use super::Show;
use crate::cli::{
    Error, Output,
    output::{Paint, text::harmless, when},
};

const TICK: Duration = Duration::from_millis(100);
/// Lines that are kept of a phase, to be shown when it fails.
const KEPT: usize = 40;
const SPIN: &str = "{spinner:.cyan} {prefix:<8} {wide_msg:.dim} {elapsed}";
const BAR: &str = "{spinner:.cyan} {prefix:<8} {bar:24.cyan/dim} {msg:.dim} {elapsed}";
const SENT: &str =
    "{spinner:.cyan} {prefix:<8} {binary_bytes} {binary_bytes_per_sec} {wide_msg:.dim} {elapsed}";

/// Draws bars.
pub(super) struct Screen {
    output: Output,
    bars: MultiProgress,
    /// The moving line of each server; the empty name is the deployment's own.
    rows: BTreeMap<String, Row>,
    upload: Option<ProgressBar>,
}

/// A phase that goes on.
struct Row {
    phase: String,
    bar: ProgressBar,
    kept: VecDeque<String>,
    /// Done and in all, of each part.
    parts: BTreeMap<String, (u64, u64)>,
}

impl Screen {
    /// Draws on standard error.
    pub(super) fn new(output: Output) -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { output, bars, rows: BTreeMap::new(), upload: None }
    }

    fn bar(&self, template: &str, name: &str) -> ProgressBar {
        // The templates are constants; a wrong one would show as indicatif's default.
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = self.bars.add(ProgressBar::new_spinner().with_style(style));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(TICK);
        bar
    }

    fn row(&mut self, event: &wire::Event) -> &mut Row {
        let stale = self.rows.get(&event.server).is_some_and(|it| it.phase != event.phase);
        if stale && let Some(row) = self.rows.remove(&event.server) {
            row.bar.finish_and_clear();
        }
        if !self.rows.contains_key(&event.server) {
            let bar = self.bar(SPIN, &event.phase);
            bar.set_message(harmless(&event.server, false));
            let row = Row {
                phase: event.phase.clone(),
                bar,
                kept: VecDeque::new(),
                parts: BTreeMap::new(),
            };
            self.rows.insert(event.server.clone(), row);
        }
        let row = || Row {
            phase: String::new(),
            bar: ProgressBar::hidden(),
            kept: VecDeque::new(),
            parts: BTreeMap::new(),
        };
        self.rows.entry(event.server.clone()).or_insert_with(row)
    }

    fn log(&mut self, event: &wire::Event, message: &str) {
        let verbose = self.output.verbose();
        let text = harmless(message, true);
        if verbose {
            let line = self.output.paint_note(Paint::Dim, &text);
            self.say(&format!("  {line}"));
        }
        let row = self.row(event);
        row.bar.set_message(harmless(message, false));
        if !verbose {
            row.kept.push_back(text);
            if row.kept.len() > KEPT {
                row.kept.pop_front();
            }
        }
    }

    fn progress(&mut self, event: &wire::Event, progress: &wire::ProgressEvent) {
        if self.upload.is_some() && event.phase == "upload" {
            return;
        }
        let row = self.row(event);
        row.parts.insert(progress.item.clone(), (progress.current, progress.total));
        let (current, total) = row.parts.values().fold((0_u64, 0_u64), |sum, it| {
            (sum.0.saturating_add(it.0), sum.1.saturating_add(it.1))
        });
        if total == 0 {
            return;
        }
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            row.bar.set_style(style);
        }
        row.bar.set_length(total);
        row.bar.set_position(current.min(total));
        row.bar.set_message(match progress.unit.as_str() {
            "bytes" => format!("{} / {}", mib(current), mib(total)),
            unit => format!("{current} / {total} {unit}"),
        });
    }

    fn step(&mut self, event: &wire::Event, step: &wire::StepEvent) {
        if event.phase == "upload"
            && let Some(bar) = self.upload.take()
        {
            bar.finish_and_clear();
        }
        if step.state == "started" {
            self.row(event);
            return;
        }
        let row = self.rows.remove(&event.server);
        let failed = step.state == "failed";
        if let Some(row) = row {
            row.bar.finish_and_clear();
            if failed {
                row.kept.iter().for_each(|it| self.say(&format!("  {it}")));
            }
        }
        let (paint, mark) = if failed { (Paint::Bad, "✗") } else { (Paint::Good, "✓") };
        let mark = self.output.paint_note(paint, mark);
        let took = step.elapsed.as_ref().map(|it| when::elapsed(when::from_wire(it)));
        let tail = format!("{:>9}  {}", took.unwrap_or_default(), harmless(&event.server, false));
        let tail = self.output.paint_note(Paint::Dim, tail.trim_end());
        self.say(&format!("{mark} {:<8} {tail}", event.phase));
    }

    fn say(&self, line: &str) {
        // A terminal that is gone shows nothing anyway.
        drop(self.bars.println(line));
    }
}

impl Show for Screen {
    fn uploaded(&mut self, bytes: u64, total: Option<u64>) {
        if self.upload.is_none() {
            let bar = self.bar(if total.is_some() { BAR } else { SENT }, "upload");
            if let Some(total) = total {
                bar.set_length(total);
            }
            self.upload = Some(bar);
        }
        if let Some(bar) = &self.upload {
            bar.set_position(bytes);
            if let Some(total) = total {
                bar.set_message(format!("{} / {}", mib(bytes), mib(total)));
            }
        }
    }

    fn event(&mut self, event: &wire::Event) -> Result<(), Error> {
        match &event.kind {
            Some(Kind::Log(it)) => self.log(event, &it.message),
            Some(Kind::Progress(it)) => self.progress(event, it),
            Some(Kind::Step(it)) => self.step(event, it),
            Some(Kind::Done(_)) | None => (),
        }
        Ok(())
    }

    fn note(&mut self, text: &str) {
        let text = self.output.paint_note(Paint::Warn, text);
        self.say(&text);
    }

    fn end(&mut self) {
        for row in std::mem::take(&mut self.rows).into_values() {
            row.bar.finish_and_clear();
        }
        if let Some(bar) = self.upload.take() {
            bar.finish_and_clear();
        }
    }
}

/// Bytes for people.
fn mib(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
