#include "server/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 1024
/* What the kernel keeps of an answer that its client does not read, a connection; it doubles it. */
#define SEND_BUFFER (128 << 10)

static uint32_t bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);

    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    if (address.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

static int try_listen(const struct addrinfo *info)
{
    int on = 1, buffer = SEND_BUFFER;
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC,
                    info->ai_protocol);

    if (fd < 0)
        return -1;
    /* A restart must not wait for old connections' TIME_WAIT. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)); /* accepted ones inherit it */
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int listen_open(const char *host, uint32_t port, int *ret_fd, uint32_t *ret_port, struct error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char service[12];
    int fd = -1;

    snprintf(service, sizeof(service), "%u", port);
    int r = getaddrinfo(host, service, &hints, &list);
    if (r != 0)
        return error_set(err, ST_INVALID, "--host %s: %s; give an address of this machine", host,
                         gai_strerror(r));
    for (const struct addrinfo *info = list; info && fd < 0; info = info->ai_next)
        fd = try_listen(info);
    int saved = errno;
    freeaddrinfo(list);
    if (fd < 0)
        return error_set(err, ST_IO, "can't listen on %s:%u: %s%s", host, port, strerror(saved),
                         saved == EADDRINUSE ? "; stop what uses it or choose another --port" : "");
    *ret_fd = fd;
    *ret_port = bound_port(fd);
    return ST_OK;
}
