"""Logs in with Authlib, as a web application does and as a browser does for somebody. Argument: the issuer."""

import html
import re
import sys
from urllib.parse import parse_qs, urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwt
from joserfc.jwk import KeySet

ISSUER = sys.argv[1]
BACK = "https://app.example/back"
SECRET = "the secret of web: 100%"
TIMEOUT = 30


def submit(browser, url, page, action, **fields):
    """Presses a button of the one form of a page, which posts to where the page stands."""
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    assert f'name="action" value="{action}"' in page.text, page.text
    data = {name: html.unescape(value) for name, value in hidden.items()} | fields | {"action": action}
    return browser.post(url, data=data, allow_redirects=False, timeout=TIMEOUT)


def log_in(url):
    """What somebody does who is sent to `url`; where they are sent back."""
    browser = requests.Session()
    page = browser.get(url, timeout=TIMEOUT)
    assert page.status_code == 200, page.text
    refused = submit(browser, url, page, "login", login="ada", password="a wrong one")
    assert refused.status_code == 403 and "wrong" in refused.text
    page = submit(browser, url, page, "login", login="ada", password="correct horse")
    if page.status_code == 200:
        page = submit(browser, url, page, "allow")
    assert page.status_code == 303, page.text
    return page.headers["location"]


metadata = requests.get(f"{ISSUER}/.well-known/openid-configuration", timeout=TIMEOUT).json()
assert metadata["issuer"] == ISSUER

client = OAuth2Session(
    "web",
    SECRET,
    scope="openid profile email offline_access orders:read",
    redirect_uri=BACK,
    code_challenge_method="S256",
    token_endpoint=metadata["token_endpoint"],
)
verifier = "a-verifier-of-43-to-128-characters-0123456789"
url, state = client.create_authorization_url(
    metadata["authorization_endpoint"], code_verifier=verifier, nonce="n-0S6_WzA2Mj"
)
assert create_s256_code_challenge(verifier) in url
back = log_in(url)
answer = parse_qs(urlsplit(back).query)
assert back.startswith(BACK + "?") and answer["state"] == [state] and answer["iss"] == [ISSUER], back
token = client.fetch_token(
    metadata["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier, timeout=TIMEOUT
)

keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=TIMEOUT).json())
algorithms = metadata["id_token_signing_alg_values_supported"]
claims = jwt.decode(token["id_token"], keys, algorithms=algorithms).claims
jwt.JWTClaimsRegistry(
    iss={"essential": True, "value": ISSUER},
    aud={"essential": True, "value": "web"},
    sub={"essential": True, "value": "ada"},
    nonce={"essential": True, "value": "n-0S6_WzA2Mj"},
).validate(claims)
access = jwt.decode(token["access_token"], keys, algorithms=algorithms)
assert access.header["typ"] == "at+jwt" and access.claims["aud"] == ["orders", ISSUER], access.claims

info = client.get(metadata["userinfo_endpoint"], timeout=TIMEOUT).json()
assert info == {
    "sub": "ada",
    "name": "Ada Lovelace",
    "preferred_username": "ada",
    "email": "ada@example.org",
}, info

before = token["refresh_token"]
token = client.refresh_token(metadata["token_endpoint"], refresh_token=before, timeout=TIMEOUT)
assert token["refresh_token"] != before
says = client.introspect_token(metadata["introspection_endpoint"], token=token["access_token"], timeout=TIMEOUT).json()
assert says["active"] is True and says["sub"] == "ada", says
gone = client.revoke_token(metadata["revocation_endpoint"], token=token["refresh_token"], timeout=TIMEOUT)
assert gone.status_code == 200, gone.text
says = client.introspect_token(metadata["introspection_endpoint"], token=token["access_token"], timeout=TIMEOUT).json()
assert says == {"active": False}, says

own = client.fetch_token(
    metadata["token_endpoint"], grant_type="client_credentials", scope="orders:read", timeout=TIMEOUT
)
claims = jwt.decode(own["access_token"], keys, algorithms=algorithms).claims
assert (claims["sub"], claims["aud"], claims["scope"]) == ("web", "orders", "orders:read"), claims
print("done")
