//! `backline schedules …`: when runs are due, and what was decided at each due time.

use clap::Subcommand;
use serde_json::json;

use crate::cli::arguments::names::{self, PlatformName};
use crate::cli::arguments::values;
use crate::cli::context::Context;
use crate::cli::terminal::exit::{CommandResult, Exit};
use crate::cli::terminal::print;
use crate::pipeline::service::schedules;
use backline_model::{CatchUp, Fire, Overlap, Schedule, ScheduleSpec};

/// `backline schedules …`
#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// List schedules with their last and next fire times
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add a schedule to the database
    Add {
        /// Name of the schedule: a-z, 0-9, '-' and '_'
        name: String,
        /// Cron expression (minute, hour, day of month, month, day of week), such as "0 2 * * *"
        #[arg(long)]
        cron: String,
        /// Time zone of the cron expression, such as Europe/Berlin
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        timezone: String,
        /// Only this platform; may be repeated
        #[arg(long, value_name = "NAME")]
        platform: Vec<PlatformName>,
        /// Which missed fire times to catch up on: all, last or none
        #[arg(long, value_name = "WHICH", default_value = "last", value_parser = values::catch_up)]
        catch_up: CatchUp,
        /// What to do while the schedule's previous run is still running: skip or queue
        #[arg(long, value_name = "WHAT", default_value = "skip", value_parser = values::overlap)]
        overlap: Overlap,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a schedule from the database
    Remove {
        /// Name of the schedule
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Enable a schedule of the database
    Enable {
        /// Name of the schedule
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Disable a schedule of the database
    Disable {
        /// Name of the schedule
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List fire times with the decision for each, the latest first
    Fires {
        /// Only fire times of this schedule
        name: Option<String>,
        /// At most this many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Columns of a schedule.
pub(in crate::cli) const HEADERS: [&str; 10] =
    ["name", "cron", "?zone", "platforms", "next", "??last", "??catch-up", "??overlap", "??origin", "enabled"];

/// Columns of a fire time.
pub(in crate::cli) const FIRE_HEADERS: [&str; 5] = ["schedule", "fire time", "decision", "#run", "??decided at"];

/// Runs the command.
pub(in crate::cli) async fn run(context: &Context, command: Command) -> CommandResult {
    let store = context.store().await?;
    let (config, now) = (context.config(), context.clock.now());
    match command {
        Command::List { json } => {
            let schedules = schedules::list(&store, config, now).await?;
            for row in schedules::unreadable(&store, &schedules) {
                let name = &row.name;
                print::note(&format!(
                    "{row}; it fires at no time: correct it, or remove it with `backline schedules remove {name}`"
                ));
            }
            let none = "there is no schedule; add one with `backline schedules add`, \
                        or under [schedules] in the configuration";
            print::listing(json, &schedules, &HEADERS, cells, none)?;
        }
        Command::Add { name, cron, timezone, platform, catch_up, overlap, json } => {
            let timezone = values::timezone(&timezone)?;
            let platforms = names::platforms(&store, &platform).await?;
            let spec = ScheduleSpec { cron, timezone, platforms, catch_up, overlap, enabled: true };
            let added = schedules::add(&store, config, &name, spec, now).await?;
            let next = added.next_fire.map_or_else(|| "never".to_owned(), print::time);
            print::done(json, &added, &format!("added schedule {name}; it fires next at {next}"))?;
        }
        Command::Remove { name, json } => {
            let name = names::schedule(&store, config, now, &name).await?;
            schedules::remove(&store, config, &name, now).await?;
            print::done(json, &json!({ "name": name }), &format!("removed schedule {name}"))?;
        }
        Command::Enable { name, json } => {
            let name = names::schedule(&store, config, now, &name).await?;
            schedules::set_enabled(&store, config, &name, true, now).await?;
            print::done(json, &json!({ "name": name, "enabled": true }), &format!("schedule {name} is on"))?;
        }
        Command::Disable { name, json } => {
            let name = names::schedule(&store, config, now, &name).await?;
            schedules::set_enabled(&store, config, &name, false, now).await?;
            print::done(json, &json!({ "name": name, "enabled": false }), &format!("schedule {name} is off"))?;
        }
        Command::Fires { name, limit, json } => {
            let fires = store.fires_list(name.as_deref(), limit).await?;
            // One that was removed has fire times still.
            if let (Some(name), []) = (&name, fires.as_slice()) {
                names::schedule(&store, config, now, name).await?;
            }
            print::listing(json, &fires, &FIRE_HEADERS, fire_cells, "no schedule has been due yet")?;
        }
    }
    Ok(Exit::Done)
}

fn cells(schedule: &Schedule) -> Vec<String> {
    let Schedule { name, origin, spec, next_fire, last_fire, .. } = schedule;
    let time = |time: Option<_>| time.map_or_else(|| print::NONE.to_owned(), print::time);
    let platforms: Vec<_> = spec.platforms.iter().map(ToString::to_string).collect();
    vec![
        name.clone(),
        spec.cron.clone(),
        spec.timezone.to_string(),
        if platforms.is_empty() { "all".to_owned() } else { platforms.join(", ") },
        time(*next_fire),
        time(*last_fire),
        spec.catch_up.as_str().to_owned(),
        spec.overlap.as_str().to_owned(),
        origin.as_str().to_owned(),
        if spec.enabled { "yes" } else { "no" }.to_owned(),
    ]
}

fn fire_cells(fire: &Fire) -> Vec<String> {
    vec![
        fire.schedule.clone(),
        print::time(fire.fire_time),
        fire.decision.as_str().to_owned(),
        fire.run_id.map_or_else(|| print::NONE.to_owned(), |run| run.to_string()),
        print::time(fire.decided_at),
    ]
}
