//! Key sets, as an issuer could send them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mainstay_auth::{Config, Issuer, Verifier};
use mainstay_core::task::Tasks;
use tokio::runtime::{Builder, Runtime};

/// ES256, of a key that no set here has: RFC 7515, appendix A.3.
const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.\
    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
    DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fuzz_target!(|set: &str| {
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let config = Config::new(["orders"]).with_issuer("main", Issuer::new("joe").with_jwks(set));
            let Ok(verifier) = Verifier::open(&config, &Tasks::new()).await else { return };
            assert!(verifier.verify(TOKEN).await.is_err(), "it expired in 2011");
        });
    });
});
