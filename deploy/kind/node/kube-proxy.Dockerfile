# kube-proxy and the few Debian programs that it calls, with the libraries of their plugins too: without one of those
# every sync of Services fails while the pod stays Ready.
ARG BASE
FROM $BASE AS tools
RUN set -e; mkdir -p /root/r/usr/sbin /root/r/tmp; \
    plugins=$(echo /usr/lib/*/xtables); programs='/usr/sbin/xtables-nft-multi /usr/sbin/conntrack'; \
    cp -a --parents $programs $plugins /root/r; \
    for name in iptables ip6tables; do for kind in '' -save -restore; do \
      ln -s xtables-nft-multi /root/r/usr/sbin/$name$kind; done; done; \
    ldd $programs $plugins/*.so | grep -oE '/[^ ]+\.so[^ ]*' | grep -v "^$plugins" | tr -d ':' | sort -u | \
      xargs cp -L --parents -t /root/r
FROM scratch
COPY --from=tools /root/r /
COPY kube-proxy /usr/local/bin/
ENV PATH=/usr/local/bin:/usr/sbin
