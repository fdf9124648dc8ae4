//! Users and clients in the database of a provider: written by whoever has its URL, read by its processes as they are asked for.

mod clients;
mod recent;
mod users;

pub(super) use self::recent::Recent;
use super::{
    config,
    database::{
        Database,
        Value::{Number, Text},
    },
    store::Failure,
};
use crate::clock::Clock;

/// So many rows are read at once.
const PAGE: u64 = 500;
/// So often a change is tried that others come before.
const TRIES: usize = 5;

/// The users and clients in the database of a provider, for programs that keep them, such as `mainstay idp user` and
/// `mainstay idp client`. Running providers see a change within 5 s, a password at the next login.
///
/// ```no_run
/// use mainstay_auth::issuer::{Directory, User, config::Store};
///
/// # async fn add() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = Directory::open(&Store::new("sqlite:///var/lib/identity/provider.db")).await?;
/// directory.add_user("ada", &User::with_password("correct horse").with_roles(["clerk"])).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Directory {
    database: Database,
    clock: Clock,
}

/// Why users or clients are not read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// A value can't be used.
    #[error("`{key}`: expected {expected}")]
    Wrong {
        /// Which, as in the configuration.
        key: String,
        /// What would do.
        expected: String,
    },
    /// There is one of this name, or another user with this subject.
    #[error("`{0}` is there already")]
    Exists(String),
    /// There is none of this name.
    #[error("`{0}` is not there")]
    Unknown(String),
    /// Nothing is known of what came of it: the database did not answer in time, or failed.
    #[error("{0}")]
    Failed(String),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.to_string())
    }
}

impl Directory {
    /// Opens the database, and makes its tables where there are none.
    ///
    /// # Errors
    /// [`Refused::Wrong`] for the first setting that can't be used; [`Refused::Failed`] where the database can't be reached within
    /// its time.
    ///
    /// # Cancel safety
    /// When it is dropped, tables are there as they were or as they have to be.
    pub async fn open(store: &config::Store) -> Result<Self, Refused> {
        let mut wrong = Wrong::default();
        if store.url.is_none() {
            wrong.add("url", "the URL of a database");
        }
        store.wrong(&mut |key, expected| wrong.add(key, expected));
        wrong.none()?;
        Ok(Self::new(Database::open(store).await?, Clock::System))
    }

    pub(super) fn new(database: Database, clock: Clock) -> Self {
        Self { database, clock }
    }

    /// Who stands in the database in vain, since the configuration has the same name.
    pub(super) async fn tell_of_hidden(&self, config: &config::Config) -> Result<(), Failure> {
        for id in config.clients.keys() {
            if self.has_client(id).await? {
                tracing::warn!(client = id, "a client stands in the database too, where it does not count");
            }
        }
        for login in config.users.keys() {
            if self.has_user(login).await? {
                tracing::warn!(user = login, "a user stands in the database too, where they do not count");
            }
        }
        Ok(())
    }

    /// All rows of `list`, which gives so many as `$2` says of those whose first column is behind `$1`, in that order.
    async fn all(&self, list: &'static str) -> Result<Vec<Vec<String>>, Failure> {
        let mut all: Vec<Vec<String>> = Vec::new();
        loop {
            let after = all.last().map_or("", |row| column(row, 0));
            let rows = self.database.rows(list, &[Text(after), Number(PAGE)]).await?;
            if rows.is_empty() {
                return Ok(all);
            }
            all.extend(rows);
        }
    }

    /// Removes who is called `name`.
    async fn remove(&self, statement: &'static str, name: &str) -> Result<(), Refused> {
        match self.database.change(statement, &[Text(name)]).await? {
            0 => Err(Refused::Unknown(name.to_owned())),
            _ => Ok(()),
        }
    }
}

/// The first thing that is wrong.
#[derive(Debug, Default)]
struct Wrong(Option<Refused>);

impl Wrong {
    fn add(&mut self, key: &str, expected: &str) {
        self.0.get_or_insert_with(|| Refused::Wrong {
            key: key.trim_end_matches('.').to_owned(),
            expected: expected.to_owned(),
        });
    }

    fn none(self) -> Result<(), Refused> {
        self.0.map_or(Ok(()), Err)
    }
}

/// What stands in a column; it names the row, and not what is in it.
fn read<T: serde::de::DeserializeOwned>(what: &str, name: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Failure::new(format!("{what} `{name}` in the database can't be read: line {line}, column {column}"))
    })
}

fn written(value: &impl serde::Serialize) -> Result<String, Refused> {
    serde_json::to_string(value).map_err(|error| Refused::Failed(error.to_string()))
}

fn column(row: &[String], index: usize) -> &str {
    row.get(index).map_or("", String::as_str)
}
