//! A database of records.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, params};
use switchboard_protocol::millis;

use super::config::SqliteConfig;
use super::query::{Filter, Found};
use super::record::Record;

/// The version of the tables.
const VERSION: i64 = 1;
/// How long another process may hold the database until a write or a look is given up.
const BUSY: Duration = Duration::from_secs(5);
/// How many records that are too old go at once.
const SWEEP: u32 = 10_000;

const TABLES: &str = "
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
";
const MAKE: &str = "
    BEGIN;
    CREATE TABLE IF NOT EXISTS records (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        principal TEXT,
        outcome TEXT NOT NULL,
        record TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS records_at ON records (at);
    CREATE INDEX IF NOT EXISTS records_principal ON records (principal, at);
    PRAGMA user_version = 1;
    COMMIT;
";

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system or the database says no.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// It cannot be made.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A newer gateway wrote it, or it is no database of records.
    #[error("it is no audit database of this version (it has version {0})")]
    Version(i64),
}

/// The database that is written to.
pub(super) struct Store {
    connection: Connection,
    keep: Duration,
}

impl Store {
    /// Opens the database, or makes it.
    pub(super) fn open(config: &SqliteConfig) -> Result<Self, StoreError> {
        // SQLite gives its own files the permissions of this one.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&config.path)?;
        let connection = Connection::open(&config.path)?;
        connection.busy_timeout(BUSY)?;
        connection.execute_batch(TABLES)?;
        check_version(&connection, &[0, VERSION])?;
        connection.execute_batch(MAKE)?;
        Ok(Self {
            connection,
            keep: config.keep,
        })
    }

    /// Adds records, all or none.
    pub(super) fn write(&mut self, records: &[(u64, Record, String)]) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare(
                "INSERT INTO records (at, kind, principal, outcome, record) VALUES (?, ?, ?, ?, ?)",
            )?;
            for (at, record, line) in records {
                insert.execute(params![
                    signed(*at),
                    record.kind,
                    record.principal,
                    record.outcome,
                    line
                ])?;
            }
        }
        transaction.commit()
    }

    /// Takes out some of the records that are too old; whether there may be more.
    pub(super) fn sweep(&mut self, now: SystemTime) -> rusqlite::Result<bool> {
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let before = signed(millis(since_1970.saturating_sub(self.keep)));
        let gone = self.connection.execute(
            "DELETE FROM records WHERE id IN (SELECT id FROM records WHERE at < ? LIMIT ?)",
            params![before, SWEEP],
        )?;
        if gone > 0 {
            self.connection
                .execute_batch("PRAGMA incremental_vacuum(1000)")?;
        }
        Ok(gone == SWEEP as usize)
    }
}

/// A database that is only read, also while a gateway writes it.
pub(super) struct Reader {
    connection: Connection,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        check_version(&connection, &[VERSION])?;
        Ok(Self { connection })
    }

    /// The newest records that the filter lets pass, the oldest of them first, of those behind `after`,
    /// and the number of the newest record that was looked at.
    pub(super) fn find(
        &self,
        filter: &Filter,
        after: i64,
    ) -> Result<(Vec<Found>, i64), StoreError> {
        let newest: Option<i64> =
            self.connection
                .query_row("SELECT max(id) FROM records", [], |row| row.get(0))?;
        let newest = newest.unwrap_or(0);
        let mut select = self.connection.prepare(
            "SELECT record FROM records
             WHERE id > ?1 AND id <= ?2 AND at >= ?3 AND at <= ?4
               AND (?5 IS NULL OR principal = ?5) AND (?6 IS NULL OR outcome = ?6)
             ORDER BY id DESC LIMIT ?7",
        )?;
        let mut rows = select.query(params![
            after,
            newest,
            signed(filter.since.unwrap_or(0)),
            signed(filter.until.unwrap_or(u64::MAX)),
            filter.principal,
            filter.outcome,
            signed(filter.most_looked_at as u64),
        ])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            if found.len() >= filter.limit {
                break;
            }
            let line: String = row.get(0)?;
            found.extend(filter.read(&line));
        }
        found.reverse();
        Ok((found, newest))
    }
}

fn check_version(connection: &Connection, known: &[i64]) -> Result<(), StoreError> {
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if !known.contains(&version) {
        return Err(StoreError::Version(version));
    }
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn record(principal: &str, at: u64) -> (u64, Record, String) {
        let time = UNIX_EPOCH + Duration::from_millis(at);
        let mut record = Record {
            v: 1,
            at: humantime::format_rfc3339_millis(time).to_string(),
            kind: "call",
            principal: Some(principal.to_owned()),
            target: Some("a__t".to_owned()),
            outcome: "ok",
            ..Record::default()
        };
        let line = record.line();
        (at, record, line)
    }

    #[test]
    fn records_are_found_while_it_is_written_and_old_ones_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = SqliteConfig {
            path: folder.path().join("audit.db"),
            keep: Duration::from_secs(60),
        };
        let mut store = Store::open(&config).expect("a database");
        let batch = [
            record("ann", 1_000),
            record("bob", 2_000),
            record("ann", 70_000),
        ];
        store.write(&batch).expect("room");
        let reader = Reader::open(&config.path).expect("a database");
        let filter = Filter {
            principal: Some("ann".to_owned()),
            ..Filter::default()
        };
        let (found, newest) = reader.find(&filter, 0).expect("records");
        let times: Vec<&str> = found
            .iter()
            .filter_map(|found| found.record["at"].as_str())
            .collect();
        assert_eq!(
            times,
            ["1970-01-01T00:00:01.000Z", "1970-01-01T00:01:10.000Z"]
        );
        assert_eq!(newest, 3);
        assert!(reader.find(&filter, newest).expect("records").0.is_empty());

        let now = UNIX_EPOCH + Duration::from_millis(62_000);
        assert!(!store.sweep(now).expect("a sweep"));
        let (found, _) = reader.find(&Filter::default(), 0).expect("records");
        assert_eq!(found.len(), 2);
        drop(store);
        for name in ["audit.db", "audit.db-wal", "audit.db-shm"] {
            if let Ok(metadata) = std::fs::metadata(folder.path().join(name)) {
                assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
            }
        }
    }

    #[test]
    fn a_database_of_another_version_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other.db");
        let other = Connection::open(&path).expect("a database");
        other
            .execute_batch("PRAGMA user_version = 7")
            .expect("ours");
        let config = SqliteConfig {
            path,
            keep: Duration::from_secs(60),
        };
        assert!(matches!(Store::open(&config), Err(StoreError::Version(7))));
    }
}
