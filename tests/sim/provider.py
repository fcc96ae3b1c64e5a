"""The keys of an issuer that is not simulated here, found as STS finds them: by the issuer's discovery document."""

import ssl

import aiohttp
import jwt


class ProviderUnreachable(Exception):
    pass


class PublishedKey:
    def __init__(self, jwk):
        self.kid, self.algorithm = jwk["kid"], jwk["alg"]
        self.public = jwt.PyJWK(jwk).key


class Provider:
    """Fetched when a token names a key that is not known; what is no longer published then is forgotten."""

    def __init__(self, world):
        self.world = world
        self.keys = []
        self.fetched_from = None

    def find(self, kid):
        if self.fetched_from != self.world.provider:
            self.keys = []
        return next((key for key in self.keys if key.kid == kid), None)

    async def learn(self, kid):
        if self.find(kid) is not None:
            return
        where = self.world.provider
        tls = ssl.create_default_context(cafile=where.get("ca_file"))
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
                document = await self._get(session, where["url"] + "/.well-known/openid-configuration", tls)
                if document["issuer"] != self.world.issuer:
                    raise ProviderUnreachable(f"the document is {document['issuer']}'s, not {self.world.issuer}'s")
                published = (await self._get(session, document["jwks_uri"], tls))["keys"]
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            raise ProviderUnreachable(str(error)) from error
        self.keys, self.fetched_from = [PublishedKey(jwk) for jwk in published], dict(where)

    @staticmethod
    async def _get(session, url, tls):
        async with session.get(url, ssl=tls) as response:
            if response.status != 200:
                raise ProviderUnreachable(f"{url}: {response.status}")
            return await response.json(content_type=None)
