//! The places a setting can come from, and which of them wins: a flag, then a variable of the
//! environment, then the configuration file, then the default.

use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::settings::Settings;
use super::{ConfigError, sync_said_twice};
use crate::cli::Arguments;
use crate::planted;

/// How the names of our variables begin.
const PREFIX: &str = "BEANPOLE_";

/// Every key, and how its variable is read.
const KEYS: [(&str, Kind); 27] = [
    ("data_dir", Kind::Text),
    ("must_exist", Kind::Switch),
    ("sync_every", Kind::Number),
    ("never_sync", Kind::Switch),
    ("listen", Kind::Text),
    ("port", Kind::Number),
    ("user", Kind::Text),
    ("job_size_max", Kind::Number),
    ("segment_size_max", Kind::Number),
    ("memory", Kind::Number),
    ("disk_free_min", Kind::Number),
    ("checkpoint_log_min", Kind::Number),
    ("checkpoint_ops_max", Kind::Number),
    ("log_format", Kind::Text),
    ("verbose", Kind::Number),
    ("cluster.listen", Kind::Text),
    ("cluster.address", Kind::Text),
    ("cluster.client_address", Kind::Text),
    ("cluster.secret_file", Kind::Text),
    ("cluster.heartbeat_ms", Kind::Number),
    ("cluster.election_min_ms", Kind::Number),
    ("cluster.election_max_ms", Kind::Number),
    ("cluster.dead_after_ms", Kind::Number),
    ("cluster.lease_ms", Kind::Number),
    ("cluster.silent_after_ms", Kind::Number),
    ("cluster.silent_release", Kind::Switch),
    ("cluster.close_without_majority", Kind::Switch),
];

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Switch,
}

/// What each place says.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    flags: Settings,
    variables: Settings,
    file: Settings,
    file_path: Option<PathBuf>,
    /// Variables with our prefix that are no settings.
    pub(super) unknown_variables: Vec<String>,
}

impl Layers {
    /// Reads the file and the variables beside the flags.
    pub(super) fn read(
        arguments: &Arguments,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let file_path = arguments.config.clone();
        let file = file_path.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        if sync_said_twice(&file) {
            return Err(ConfigError::SyncSaidTwice);
        }
        let (variables, unknown_variables) = of_variables(variables)?;
        if sync_said_twice(&variables) {
            return Err(ConfigError::SyncSaidTwice);
        }
        Ok(Self { flags: of_flags(arguments), variables, file, file_path, unknown_variables })
    }

    /// The settings in force.
    pub(super) fn merged(&self) -> Settings {
        let said = self.flags.clone().over(self.variables.clone()).over(self.file.clone());
        let is_cluster = said.cluster.is_some();
        said.over(Settings::defaults(is_cluster))
    }

    /// The settings in force as a configuration file, with where each is from.
    pub(super) fn describe(&self) -> String {
        let merged = table(&self.merged());
        let mut text = String::new();
        for (key, _) in KEYS {
            let (in_cluster, name) = match key.split_once('.') {
                Some((_, name)) => (true, name),
                None => (false, key),
            };
            if in_cluster && !merged.contains_key("cluster") {
                continue;
            }
            if key == "cluster.listen" {
                text.push_str("\n[cluster]\n");
            }
            let line = match value(&merged, key) {
                Some(value) => {
                    format!("{:<40}# {}", format!("{name} = {value}"), self.source(key))
                }
                None => format!("# {name} is not set"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}");
        }
        text
    }

    fn source(&self, key: &str) -> Source<'_> {
        if value(&table(&self.flags), key).is_some() {
            return Source::Flag;
        }
        if value(&table(&self.variables), key).is_some() {
            return Source::Variable(variable(key));
        }
        match &self.file_path {
            Some(path) if value(&table(&self.file), key).is_some() => Source::File(path),
            _ => Source::Default,
        }
    }
}

/// Where a setting is from.
enum Source<'a> {
    Flag,
    Variable(String),
    File(&'a Path),
    Default,
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

fn of_flags(arguments: &Arguments) -> Settings {
    Settings {
        data_dir: arguments.data_dir.clone(),
        must_exist: arguments.must_exist.then_some(true),
        sync_every: arguments.sync_every,
        never_sync: arguments.never_sync.then_some(true),
        listen: arguments.listen.clone(),
        // One that is no number is refused later, unless it is for a Unix socket.
        port: arguments.port.as_ref().and_then(|port| port.parse().ok()),
        user: arguments.user.clone(),
        job_size_max: arguments.job_size_max,
        segment_size_max: arguments.segment_size_max,
        memory: arguments.memory,
        disk_free_min: arguments.disk_free_min,
        checkpoint_log_min: arguments.checkpoint_log_min,
        checkpoint_ops_max: arguments.checkpoint_ops_max,
        log_format: arguments.log_format,
        verbose: (arguments.verbose > 0).then_some(arguments.verbose),
        cluster: None,
    }
}

/// What the variables say, and those that say nothing we know.
fn of_variables(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<(Settings, Vec<String>), ConfigError> {
    let mut said = Table::new();
    let mut unknown = Vec::new();
    for (name, text) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let Some((key, kind)) = KEYS.into_iter().find(|(key, _)| variable(key) == name) else {
            if !(planted::IS_POSSIBLE && name == planted::VARIABLE) {
                unknown.push(name.to_owned());
            }
            continue;
        };
        let refused = |why: &str| ConfigError::Variable {
            name: name.to_owned(),
            value: text.to_string_lossy().into_owned(),
            why: why.to_owned(),
        };
        let value = text.to_str().ok_or_else(|| refused("it is not UTF-8"))?;
        let value = read_value(kind, value).map_err(refused)?;
        // Each alone, so that an error is about this one.
        let mut alone = Table::new();
        insert(&mut alone, key, value.clone());
        Settings::deserialize(alone).map_err(|error| refused(error.message()))?;
        insert(&mut said, key, value);
    }
    unknown.sort();
    let settings = Settings::deserialize(said).expect("each of the values was read before");
    Ok((settings, unknown))
}

fn read_value(kind: Kind, text: &str) -> Result<Value, &'static str> {
    match (kind, text) {
        (Kind::Text, _) => Ok(Value::String(text.to_owned())),
        (Kind::Number, _) => {
            text.parse().map(Value::Integer).map_err(|_| "a whole number is wanted")
        }
        (Kind::Switch, "true" | "1") => Ok(Value::Boolean(true)),
        (Kind::Switch, "false" | "0") => Ok(Value::Boolean(false)),
        (Kind::Switch, _) => Err("true or false is wanted"),
    }
}

/// The variables of all keys.
pub(super) fn variables() -> impl Iterator<Item = String> {
    KEYS.iter().map(|(key, _)| variable(key))
}

/// The variable of a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

fn insert(table: &mut Table, key: &str, value: Value) {
    let Some((outer, inner)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return;
    };
    let within = table.entry(outer).or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(within) = within {
        within.insert(inner.to_owned(), value);
    }
}

fn table(settings: &Settings) -> Table {
    Table::try_from(settings).expect("settings are tables of plain values")
}

fn value<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((outer, inner)) => table.get(outer)?.get(inner),
        None => table.get(key),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::ClusterSettings;
    use super::*;

    #[test]
    fn every_setting_has_a_key_of_its_kind() {
        let cluster = ClusterSettings {
            listen: Some(String::new()),
            address: Some(String::new()),
            client_address: Some(String::new()),
            secret_file: Some(PathBuf::new()),
            ..Default::default()
        };
        let full = Settings {
            data_dir: Some(PathBuf::new()),
            user: Some(String::new()),
            memory: Some(0),
            cluster: Some(cluster),
            ..Default::default()
        };
        let table = table(&full.over(Settings::defaults(true)));
        let kinds = KEYS.map(|(key, _)| match value(&table, key) {
            Some(Value::String(_)) => (key, Kind::Text),
            Some(Value::Integer(_)) => (key, Kind::Number),
            Some(Value::Boolean(_)) => (key, Kind::Switch),
            other => panic!("{key}: {other:?}"),
        });
        assert_eq!(kinds, KEYS);
        let within = table["cluster"].as_table().expect("it is one").len();
        assert_eq!(table.len() - 1 + within, KEYS.len());
    }

    #[test]
    fn variables_are_the_keys_in_capitals() {
        assert_eq!(variable("data_dir"), "BEANPOLE_DATA_DIR");
        assert_eq!(variable("cluster.election_min_ms"), "BEANPOLE_CLUSTER_ELECTION_MIN_MS");
    }
}
