"""The Docker engine, as the deployment will talk to it."""

import asyncio


def test_reads_the_version():
    """The engine answers aiodocker and names its version."""
    import aiodocker

    async def version():
        async with asyncio.timeout(30), aiodocker.Docker() as docker:
            return await docker.version()

    answer = asyncio.run(version())
    assert answer["Version"]
    assert tuple(map(int, answer["ApiVersion"].split("."))) >= (1, 41)
